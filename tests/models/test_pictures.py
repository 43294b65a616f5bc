"""Models that also see pictures, read with texts: loaded by the class transformers has for them, stretched, cached or not."""

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForImageTextToText, DynamicCache

from models.test_dynamic import largest, run, tokens
from ropewalk.engines.transformers.write import write
from ropewalk.errors import CannotAttach
from ropewalk.models.attach import attach
from ropewalk.models.caches import cache_argument
from ropewalk.models.live import read_live
from ropewalk.models.load import load_model
from ropewalk.scaling.plan import make_plan

# M-RoPE: sections of 8 pairs for time, height and width.
MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
KINDS = {
    "mistral3": None, "llava": None, "internvl": None, "smolvlm": None,
    "qwen2_vl": MROPE, "qwen2_5_vl": MROPE, "glm4v": {**MROPE, "partial_rotary_factor": 1.0},
    "qwen3_vl": {**MROPE, "mrope_section": [4, 2, 2], "mrope_interleaved": True},
}  # fmt: skip
TEXT = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            head_dim=16, vocab_size=300, max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
            eos_token_id=2)  # fmt: skip
VISION = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, depth=1, num_attention_heads=2, num_heads=2,
              out_hidden_size=64, embed_dim=32, image_size=28, patch_size=14, head_dim=16,
              deepstack_visual_indexes=[0])  # fmt: skip


def small(kind):
    """A config of a few thousand weights; nested as published ones are."""
    made = AutoConfig.for_model(kind)
    config = made.to_dict()
    text = config["text_config"]
    text.update({key: value for key, value in TEXT.items() if key in text})
    text.pop("layer_types", None)
    if KINDS[kind]:
        text["rope_parameters"] = dict(KINDS[kind])
    config["vision_config"].update({key: value for key, value in VISION.items() if key in config["vision_config"]})
    for key in list(config):
        if key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            del config[key]
        elif key.endswith(("token_id", "token_index")):
            config[key] = 299
    return type(made).from_dict(config)


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    AutoModelForImageTextToText.from_config(small(request.param)).save_pretrained(folder)
    loaded = load_model(folder)
    with torch.no_grad():
        for name, weight in loaded.named_parameters():
            if ("q_proj" in name or "k_proj" in name) and "vis" not in name:
                weight.mul_(20)  # so that positions matter
    return loaded


@pytest.mark.parametrize("method", ["yarn", "dynamic-yarn"])
def test_a_cache_changes_nothing(model, method):
    ids = tokens(200)
    plan = make_plan(read_live(model), factor=4, method=method)
    base, short = run(model, ids), run(model, ids[:, :64], use_cache=False)
    with attach(model, plan):
        whole = run(model, ids, use_cache=False)
        cache, pieces = DynamicCache(config=model.config), []
        for first, last in [(0, 60), (60, 120), *((i, i + 1) for i in range(120, 200))]:
            pieces.append(run(model, ids[:, first:last], **cache_argument(model, cache)))
        assert largest(torch.cat(pieces, 1), whole) < 2e-5
        assert largest(whole, base) > 1e-3, "the plan does something"
        if method == "dynamic-yarn":
            assert torch.equal(run(model, ids[:, :64], use_cache=False), short)
    assert torch.equal(run(model, ids), base)


@pytest.mark.parametrize("method", ["yarn", "linear", "ntk"])
def test_stock_transformers_builds_the_same_from_the_config_written(model, method):
    """The oracle is the stock model, built from the config that `write` gives."""
    ids, plan = tokens(150), make_plan(read_live(model), factor=4, method=method)
    written = type(model.config).from_dict(write(plan, model.config.to_dict()))
    stock = AutoModelForImageTextToText.from_config(written, attn_implementation="sdpa").eval()
    stock.load_state_dict(model.state_dict())
    with attach(model, plan):
        assert largest(run(model, ids), run(stock, ids)) < 2e-5


def test_places_in_a_picture_cannot_be_scheduled():
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(small("qwen2_vl")).eval()
    places = torch.arange(8).expand(3, 1, 8).clone()
    places[2, 0, 4:] = 2
    with attach(model, make_plan(read_live(model), factor=4, method="dynamic-yarn")):
        run(model, tokens(8), position_ids=places[:1].expand(3, -1, -1))
        with pytest.raises(CannotAttach, match="Texts can be read"):
            run(model, tokens(8), position_ids=places)


def test_the_class_is_the_one_for_pictures_and_texts(model):
    mapped = transformers.AutoModelForImageTextToText._model_mapping
    assert type(model) is mapped[type(model.config)]
