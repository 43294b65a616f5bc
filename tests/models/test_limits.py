"""What a request may take: lengths and bytes are counted by hand."""

import pytest
import torch

from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadLength
from ropewalk.models import limits
from ropewalk.models.limits import available_bytes, cache_bytes, check_cache, check_length
from ropewalk.scaling.plan import make_plan

CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_hidden_layers": 36, "max_position_embeddings": 4096, "rope_theta": 10000.0,
}  # fmt: skip
SPEC = read(CONFIG)
PER_TOKEN = 2 * 36 * 8 * 128 * 2  # keys and values, layers, heads, channels, bytes of bfloat16
CPU = torch.device("cpu")


def test_a_request_that_fits_exactly_is_taken():
    check_length(4000, 96, 4096)
    with pytest.raises(BadLength):
        check_length(4001, 96, 4096)


def test_too_long_says_the_numbers_and_the_way_out():
    plan = make_plan(SPEC, factor=2, method="dynamic-yarn")
    with pytest.raises(
        BadLength, match=r"8,200 tokens \(8,000 of prompt and 200 new\).*dynamic-yarn\) reaches 8,192"
    ) as error:
        check_length(8000, 200, 8192, plan=plan)
    assert "at most 192 new tokens" in str(error.value)
    check_length(8000, 192, 8192, plan=plan)  # the way out is one
    with pytest.raises(BadLength, match="Shorten the prompt by 9 tokens or more"):
        check_length(8200, 1, 8192)
    check_length(8191, 1, 8192)


def test_cache_bytes_of_static_and_late_plans():
    assert cache_bytes(SPEC, None, 1000, torch.bfloat16) == 1000 * PER_TOKEN
    assert cache_bytes(SPEC, make_plan(SPEC, factor=8), 1000, torch.float32, 3) == 3 * 2 * 1000 * PER_TOKEN
    deferred = make_plan(SPEC, factor=8, method="dynamic-yarn")
    assert (
        cache_bytes(SPEC, deferred, 1000, torch.bfloat16) == 1000 * PER_TOKEN * 3 // 2
    )  # keys are half of it, and twice there
    request = make_plan(SPEC, factor=8, method="dynamic-yarn-request")
    assert cache_bytes(SPEC, request, 1000, torch.bfloat16) == 1000 * PER_TOKEN


def test_a_cache_that_cannot_be_there(monkeypatch):
    monkeypatch.setattr(limits, "available_bytes", lambda device: 1000 * PER_TOKEN)
    check_cache(SPEC, None, 1000, torch.bfloat16, CPU)
    with pytest.raises(BadLength, match=r"cache of 1,001 tokens takes 0\.1 GiB in bfloat16.*\n  About 1,000 tokens would fit"):
        check_cache(SPEC, None, 1001, torch.bfloat16, CPU)
    with pytest.raises(BadLength, match="3 times"):
        check_cache(SPEC, None, 500, torch.bfloat16, CPU, rows=3)


def test_a_model_that_does_not_exist_on_this_planet_does_not_fit():
    """The real memory of this machine, and a cache of 2^36 tokens."""
    with pytest.raises(BadLength, match="are free on cpu"):
        check_cache(SPEC, None, 2**36, torch.bfloat16, CPU)
    assert 2**20 < available_bytes(CPU) < 2**50


def test_a_containers_limit_counts_and_its_file_cache_does_not(tmp_path):
    for name, text in (("max", "1000000"), ("current", "700000"), ("stat", "anon 5\ninactive_file 200000")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert limits._left_in_container(tmp_path) == 500000
    (tmp_path / "memory.max").write_text("max\n")
    assert limits._left_in_container(tmp_path) > 2**50
    assert limits._left_in_container(tmp_path / "nowhere") > 2**50


def test_what_is_free_is_the_less_of_machine_and_container(monkeypatch):
    monkeypatch.setattr(limits, "_left_in_container", lambda: 12_345)
    assert available_bytes(CPU) == 12_345
    monkeypatch.setattr(limits, "_left_in_container", lambda: 2**62)
    assert 2**20 < available_bytes(CPU) < 2**50
