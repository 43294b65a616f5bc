"""rope_freqs.weight beside a scaling type, and architectures that cannot carry it."""

import math

import pytest

from ropewalk.engines import gguf
from ropewalk.engines.gguf_file import FREQS
from ropewalk.engines.llama_cpp import metadata
from ropewalk.errors import BadConfig, CannotExpress
from ropewalk.scaling.rope import Rope
from ropewalk.scaling.stretch import Stretch

BASE = {
    "general.architecture": "llama", "llama.context_length": 4096, "llama.rope.dimension_count": 8,
    "llama.rope.freq_base": 10_000.0, "llama.rope.scaling.factor": 4.0, "llama.rope.scaling.original_context_length": 1024,
}  # fmt: skip
FACTORS = [1.0, 1.5, 2.0, 3.0]


def test_linear_and_factors_multiply():
    """ggml_rope_cache_init: theta / freq_factor, and rope_yarn: freq_scale times that."""
    scaled = gguf.keys_of({**BASE, "llama.rope.scaling.type": "linear", FREQS: FACTORS}).scaled()

    expected = [10_000.0 ** (-2 * i / 8) / f / 4 for i, f in enumerate(FACTORS)]
    assert scaled.inv_freq == pytest.approx(expected)
    assert scaled.attention_factor == pytest.approx(1.0)


def test_yarn_and_factors_multiply_and_keep_the_temperature_of_yarn():
    kinds = {**BASE, "llama.rope.scaling.type": "yarn", "llama.rope.scaling.attn_factor": 0.5}
    alone, both = gguf.keys_of(kinds).scaled(), gguf.keys_of({**kinds, FREQS: FACTORS}).scaled()

    assert both.inv_freq == pytest.approx([f / by for f, by in zip(alone.inv_freq, FACTORS, strict=True)])
    assert both.attention_factor == pytest.approx(0.5 * (1 + 0.1 * math.log(4)))


def test_factors_for_another_number_of_pairs_are_refused():
    with pytest.raises(BadConfig, match="3 factors for 4 pairs"):
        gguf.keys_of({**BASE, "llama.rope.scaling.type": "linear", FREQS: FACTORS[:3]})


@pytest.mark.parametrize("arch", ["phi3", "smollm3", "mistral3"])
def test_graphs_that_do_not_multiply_carry_no_factors(arch):
    """src/models: phi3.cpp loads rope_long and rope_short alone, smollm3.cpp hands nullptr to ggml_rope_ext, and mistral3.cpp
    computes attn_factor itself."""
    stretch = Stretch(Rope(64, 10_000.0, 512), "resonance", 4.0)
    assert FREQS in metadata(stretch, "llama", 2048)
    with pytest.raises(CannotExpress, match=f"the graph of {arch} has no rope factors"):
        metadata(stretch, arch, 2048)


def test_a_pair_that_does_not_turn_has_no_factor():
    stretch = Stretch(Rope(64, 10_000.0, 512), "proportional", 1.0, (("proportion", 0.25),))
    with pytest.raises(CannotExpress, match="they cannot make the 0 of a pair that does not turn"):
        metadata(stretch, "llama", 512)
