"""The frozen corpus: what the reader makes of real configs, as a text to read, and which of them engines disagree about.

To renew the snapshot after a change that was meant: `python tests/support/corpus.py > tests/engines/corpus.txt`.
"""

import copy
import math
from pathlib import Path

import pytest

from ropewalk.engines.engine import get_engine, rotation
from ropewalk.engines.keys import layers_of
from ropewalk.jobs.doctor.target import DEFAULT
from support.corpus import CORPUS, line, snapshot

SNAPSHOT = Path(__file__).with_name("corpus.txt")


def test_the_corpus_is_wide():
    assert len(CORPUS) >= 60
    assert len({entry.model for entry in CORPUS}) == len(CORPUS)
    assert {entry.date[:4] for entry in CORPUS} == {"2023", "2024", "2025", "2026"}
    assert all(entry.source.startswith(("seen: ", "research", "known")) for entry in CORPUS)


def test_the_resolution_is_the_frozen_one():
    assert snapshot().splitlines() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def alarms(entry):
    engines = (get_engine(name) for name in DEFAULT)
    layers = layers_of(entry.config)
    return [loss.said for engine in engines for keys in layers for loss in rotation(engine, keys).losses]


@pytest.mark.parametrize("entry", [e for e in CORPUS if e.healthy], ids=lambda e: e.model)
def test_no_alarm_on_a_healthy_config(entry):
    assert alarms(entry) == []


# What the others are known for (algorithms.md, users.md 1.7): words that must be among the alarms.
SICK = {
    "NousResearch/Yarn-Mistral-7b-64k": "below the 65,536 that factor says",
    "microsoft/Phi-3-mini-128k-instruct": "position 4,096 is rotated as position 0",
    "microsoft/Phi-3.5-MoE-instruct": "transformers >= 5 ignores long_factor",
    "Qwen/Qwen2.5-7B-Instruct, the card's YaRN": "below the 131,072 that factor says: 32,768 tokens",
    "microsoft/Phi-4-mini-instruct": "MLX-LM >= 0.30.2 ignores short_factor",
    "Qwen/Qwen3-8B, the card's YaRN": "below the 131,072 that factor says: 40,960 tokens",
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": "transformers >= 4.51 ignores attn_factor: logits x1.3",
    "moonshotai/Kimi-K2-Instruct": "llama.cpp ignores beta_fast: 1.0 and beta_slow: 1.0",
    "openai/gpt-oss-20b": "MLX-LM ignores truncate: false: a frequency x1.76 off",
    "poolside/Laguna-XS.2": "llama.cpp ignores attention_factor (full_attention): logits x2",
    "LLM360/K2-Horizon": "llama.cpp ignores beta_fast: 128.0 and beta_slow: 4.0",
}


@pytest.mark.parametrize("entry", [e for e in CORPUS if not e.healthy], ids=lambda e: e.model)
def test_the_others_are_alarmed_about_for_what_they_are_known_for(entry):
    assert [said for said in alarms(entry) if SICK[entry.model] in said], alarms(entry)


def test_a_line_says_what_a_person_would_look_for():
    by_name = {entry.model: entry for entry in CORPUS}
    assert line(by_name["meta-llama/Llama-3.1-8B"]) == (
        "2024-07 meta-llama/Llama-3.1-8B: window 131072; all 128d b=500000 L=8192 llama3 x8"
    )


@pytest.mark.parametrize(("mscale", "all_dim"), [(1.0, 1.0), (1.0, 0.5), (0.7, 0.5)])
def test_llama_cpp_takes_ministrals_temperature_from_one_key_of_two(mscale, all_dim):
    """llama-context.cpp: "here we assume mscale == 1.0f"; m(s, 1) / m(s, mscale_all_dim) with m(s, k) = 1 + 0.1 k ln s."""
    (entry,) = [e for e in CORPUS if "Ministral-3" in e.model]
    config = copy.deepcopy(entry.config)
    config["text_config"]["rope_parameters"] |= {"mscale": mscale, "mscale_all_dim": all_dim}
    (keys,) = layers_of(config)
    found = rotation(get_engine("llama.cpp"), keys)
    above, below = 1 + 0.1 * math.log(16), 1 + 0.1 * all_dim * math.log(16)
    assert found.scaled.attention_factor == pytest.approx(above / below, rel=1e-12)
    assert bool(found.losses) is (mscale != 1.0)
