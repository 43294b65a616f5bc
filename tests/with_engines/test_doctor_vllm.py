"""The doctor and a real vLLM (CPU, float32): a sound stretch passes and agrees with its trainer; without the scaling neither.

Two servers, of half a minute each; the second is the negative control: the same folder, its scaling removed.
"""

import json

import pytest

import ropewalk
from ropewalk.checkpoints.export import export
from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.jobs.doctor.live.client import Client
from ropewalk.jobs.doctor.live.endpoint import find
from ropewalk.jobs.doctor.live.job import examine
from ropewalk.jobs.doctor.live.readers import Echo, PromptLogprobs
from ropewalk.jobs.doctor.stacks.job import compare
from ropewalk.jobs.doctor.stacks.measure import Stacks
from ropewalk.jobs.doctor.stacks.sides import ModelSide, Words, of_server
from ropewalk.models.served import open_model
from support.serving import TINY
from with_engines.vllm_server import need_vllm, vllm_serving

pytestmark = pytest.mark.engines

L, TARGET = 512, 2048
LENGTHS = [L, TARGET]
# Of a log-probability in float32 between two implementations, on average: measured 2e-6; the scaling removed is 2.6 off.
NOISE = 1e-4


@pytest.fixture(scope="module", params=["yarn", "its scaling removed"])
def served(request, tmp_path_factory):
    """(whether sound, address, the trainer)"""
    need_vllm()
    folder = checkpoint(TINY)
    plan = ropewalk.make_plan(ropewalk.read(read_config(folder)), factor=4, method="yarn")
    made = tmp_path_factory.mktemp("made")
    export(folder, plan, ["vllm"], made / "out")
    (config,) = (made / "out").rglob("config.json")
    sound = request.param == "yarn"
    if not sound:
        told = json.loads(config.read_text())
        told.pop("rope_scaling", None)
        config.write_text(json.dumps(told | {"rope_parameters": {"rope_type": "default", "rope_theta": told["rope_theta"]}}))
    with vllm_serving(config.parent, made / "log") as port:
        yield sound, f"http://127.0.0.1:{port}", ModelSide("trainer", open_model(TINY, plan))


def test_the_doctor_judges_it(served):
    sound, url, _ = served
    endpoint = find(Client(url))
    assert (endpoint.claimed, endpoint.reader.name) == (TARGET, "echo with logprobs")

    result = examine(endpoint, LENGTHS, L)

    assert result.verdict == ("PASS" if sound else "FAIL")
    assert sound or result.loss[-1].difference.low > 1  # 2.3 nats, measured


def test_beside_its_trainer(served):
    sound, url, trainer = served
    words = Words(trainer.served.tokenizer)
    server = of_server(url, find(Client(url)), words)
    assert server.takes_ids

    result = compare(Stacks(trainer, server, words), LENGTHS, L, passages=6)

    assert result.verdict == ("ALIKE" if sound else "DIFFER")
    assert (result.bands[-1].apart.high < NOISE) is sound


@pytest.mark.parametrize("prompt", ["def area(width, height):\n    return width * height\n", [0, 5, 9, 100, 7]])
def test_both_of_its_readers_read_the_same(served, prompt):
    _, url, _ = served
    echo, own = (reader.read(Client(url), "tiny", prompt, 4) for reader in (Echo(), PromptLogprobs()))
    assert echo.count == own.count
    assert echo.logprobs == pytest.approx(own.logprobs, abs=1e-4)
    assert own.tokens == tuple(map(str, prompt[-4:])) or isinstance(prompt, str)
