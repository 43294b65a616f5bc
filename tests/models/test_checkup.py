"""A live model whose tables are not what its config says, as the ledger has seen it happen."""

import json
import shutil

import pytest
import torch

from ropewalk.engines.transformers.checkpoint import bundled_model, read_config
from ropewalk.engines.transformers.write import read, write
from ropewalk.models.checkup import checkup, measure_checkpoint
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import make_plan


def stretched(method, **options):
    config = read_config(bundled_model())
    return write(make_plan(read(config), factor=4, method=method, options=options), config)


def test_a_config_changed_after_the_model_was_built_changes_nothing():
    """Soup#793, FastChat#2124: rope_scaling set on a built model; frequencies stay plain, the last pair 4 times too fast."""
    model = load_model("ropewalk-tiny")
    (table,) = checkup(model, read(stretched("yarn")))

    assert not table.right
    assert table.attention_factor == pytest.approx(1.0, abs=1e-5)
    assert table.wanted == pytest.approx(1.1386, abs=1e-4)
    assert "logits x0.771" in table.said  # 1 / 1.1386^2


def test_a_temperature_that_was_lost_is_measured():
    model = load_model("ropewalk-tiny")
    model.model.rotary_emb.attention_scaling = 1.25
    (table,) = checkup(model, read(read_config(bundled_model())))

    assert not table.right
    assert table.attention_factor == pytest.approx(1.25, abs=1e-5)
    assert table.error == pytest.approx(0.25, abs=1e-4)


def test_one_pair_off_is_found_and_named():
    model = load_model("ropewalk-tiny")
    model.model.rotary_emb.inv_freq[5] *= 1.01
    (table,) = checkup(model, read(read_config(bundled_model())))

    assert (table.right, table.pair) == (False, 5)


def test_nan_is_not_right():
    model = load_model("ropewalk-tiny")
    model.model.rotary_emb.inv_freq[3] = torch.nan
    assert not checkup(model, read(read_config(bundled_model())))[0].right


@pytest.mark.parametrize("method", ["yarn", "ntk_by_parts", "ntk", "linear", "llama3"])
def test_a_checkpoint_that_does_what_it_says(tmp_path, method):
    folder = tmp_path / "model"
    shutil.copytree(bundled_model(), folder)
    (folder / "config.json").write_text(json.dumps(stretched(method)))

    assert [table.right for table in measure_checkpoint(str(folder))] == [True]
