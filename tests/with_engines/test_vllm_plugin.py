"""The plugin in vLLM itself (CPU, float32), against Ropewalk's own attached model, one request at a time, and broken.

Needs vLLM in an environment of its own: ENGINES/vllm/bin/python, ENGINES being .venv-engines or what ROPEWALK_ENGINES names.
Each engine is one process of about half a minute; the plugin is found by its entry point, in a folder on the path.
"""

import json
import random
import subprocess
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

import ropewalk
from ropewalk.plugins.vllm.entry import KNOWN
from with_engines.vllm_server import PLAN as VARIABLE
from with_engines.vllm_server import PYTHON, ROOT, need_vllm, plain_environment, vllm_serving

pytestmark = pytest.mark.engines

TINY = Path(ropewalk.__file__).parent / "models" / "ropewalk-tiny"
PLAN = ropewalk.make_plan(
    ropewalk.read(json.loads((TINY / "config.json").read_text())), factor=8, method="dynamic-yarn-request-1"
)
# Of a log-probability in float32 between two implementations: measured 7.7e-4 at the worst token, 3.2e-5 on average.
NOISE, MEAN = 1e-3, 1e-4
WRONG = 1.0  # another scale's keys cost more, measured 2.7
SEED = random.Random(20261124)
IDS = [SEED.randrange(1, 1024) for _ in range(4096)]


@pytest.fixture(scope="module", autouse=True)
def _vllm():
    need_vllm()


def prepared(folder, plan, patch=""):
    """The environment of a vLLM that finds the plugin by its entry point. plan: None leaves it unasked."""
    package = folder / "path" / "ropewalk-0.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["vllm.general_plugins"]
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: ropewalk\nVersion: 0\n")
    (package / "entry_points.txt").write_text("[vllm.general_plugins]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()))
    (folder / "path" / "sitecustomize.py").write_text(patch)
    environment = {**plain_environment(), "PYTHONPATH": f"{folder / 'path'}:{ROOT / 'src'}"}
    if plan:
        (folder / "plan.json").write_text(plan.to_json())
        environment[VARIABLE] = str(folder)
    return environment


def ask(folder, rounds, *, plan=PLAN, patch="", **engine):
    """The answers of one engine to rounds of requests. patch: code run before vLLM."""
    job = {"model": str(TINY), "engine": {"enforce_eager": True, **engine}, "rounds": rounds}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "out.json").unlink(missing_ok=True)
    command = [PYTHON, Path(__file__).parent / "vllm_requests.py", folder / "job.json", folder / "out.json"]
    run = subprocess.run(command, env=prepared(folder, plan, patch), capture_output=True, text=True, timeout=580, check=False)
    assert (folder / "out.json").is_file(), run.stdout[-3000:] + run.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


def request(n, first=0, new=24, **more):
    return {"ids": IDS[first : first + n], "max_tokens": new, "prompt_logprobs": True, **more}


def scaled(scale):
    return {"extra_args": {"rope_scale": scale}}


def furthest(one, other):
    assert len(one["logprobs"]) == len(other["logprobs"])
    return max(abs(a - b) for a, b in zip(one["logprobs"], other["logprobs"], strict=True))


def mean(one, other):
    return sum(abs(a - b) for a, b in zip(one["logprobs"], other["logprobs"], strict=True)) / len(one["logprobs"])


def equal(one, other):
    assert one["tokens"] == other["tokens"]
    assert furthest(one, other) < NOISE
    assert mean(one, other) < MEAN


@pytest.fixture(scope="module")
def model():
    return ropewalk.load_model(TINY, dtype=torch.float32)


def by_ropewalk(model, asked, scale):
    """What the model attached to a static plan of this scale writes and how probable it finds it all, token by token."""
    plan = ropewalk.make_plan(ropewalk.read(model.config.to_dict()), factor=scale, method="yarn")
    ids = torch.tensor([asked["ids"]])
    with ropewalk.attach(model, plan), torch.no_grad():
        new = model.generate(ids, max_new_tokens=asked["max_tokens"], min_new_tokens=asked["max_tokens"], do_sample=False)
        logprobs = model(new).logits[0, :-1].double().log_softmax(-1)
    return {
        "tokens": new[0, ids.shape[1] :].tolist(),
        "logprobs": logprobs.gather(1, new[0, 1:, None])[:, 0].tolist(),
    }


FOUR = [request(300), request(700, 50), request(1500, 99), request(3500, 7)]  # scales 1, 2, 4 and 8, by length
ASKED = [request(400, **scaled(s)) for s in (8.0, 4, 2.0, 1.0)]  # one text at all scales, asked for


def test_four_scales_in_one_batch(tmp_path, model):
    """Together, alone and in Ropewalk's attached model the same; other scales are far off, so the comparison can tell."""
    together, asked, *alone = ask(tmp_path, [FOUR, ASKED, *([one] for one in FOUR)], enable_prefix_caching=False)

    for answer, (single,), given, scale in zip(together, alone, FOUR, (1, 2, 4, 8), strict=True):
        equal(answer, single)
        equal(answer, by_ropewalk(model, given, scale))
    for answer, given, scale in zip(asked, ASKED, (8, 4, 2, 1), strict=True):
        equal(answer, by_ropewalk(model, given, scale))
    assert min(furthest(asked[i], asked[j]) for i in range(4) for j in range(i)) > 100 * NOISE


def test_a_short_prompt_gets_the_bits_of_plain_vllm(tmp_path):
    short = [request(n, n) for n in (40, 200, 480)]
    ((*plain,),) = ask(tmp_path, [short], plan=None)
    ((*planned, _),) = ask(tmp_path, [[*short, request(2000)]], max_num_batched_tokens=4096)
    ((*alone,),) = ask(tmp_path, [short])

    assert [a["logprobs"] for a in plain] == [a["logprobs"] for a in alone]
    for one, other in zip(plain, planned, strict=True):
        equal(one, other)


WITHOUT_SALT = """
import ropewalk.plugins.vllm.plan as steps
steps.salted = lambda given, fingerprint, step: given
"""


@pytest.mark.parametrize("salted", [True, False])
def test_cached_prefixes_are_not_shared_between_scales(tmp_path, model, salted):
    """The same prompt at one scale after the other; without the salts, keys of the wrong scale are read, and it shows."""
    rounds = [[request(400, **scaled(s), prompt_logprobs=False)] for s in (1, 4, 4, 8, 1)]
    answers = [a for (a,) in ask(tmp_path, rounds, patch="" if salted else WITHOUT_SALT)]

    off = []
    for answer, scale in zip(answers, (1, 4, 4, 8, 1), strict=True):
        wanted = by_ropewalk(model, rounds[0][0], scale)
        off.append(furthest(answer, {"logprobs": wanted["logprobs"][-24:]}))
    assert answers[2]["cached"] > 300  # a second time at the same scale finds the first's keys
    assert answers[4]["cached"] > 300
    if salted:
        assert [a["cached"] for a in answers[:2]] == [0, 0]
        assert answers[3]["cached"] == 0
        assert max(off) < NOISE
    else:
        assert off[0] < NOISE
        assert min(off[1:4]) > WRONG


def test_a_mixed_load_of_32(tmp_path):
    """32 requests of all lengths at once, prompts in chunks of 512, some with a prefix in common, against each alone."""
    lengths = [17, 3800, 512, 513, 90, 1024, 1025, 2100] * 4
    load = [request(n, 13 * (i % 3), 16) for i, n in enumerate(lengths)]
    for one in load[::2]:
        one["prompt_logprobs"] = False  # asking for those turns prefix caching off for a request
    rounds = [load, *([one] for one in load[:8])]
    together, *alone = ask(tmp_path, rounds, max_num_batched_tokens=512)

    for i, (single,) in enumerate(alone):
        equal(together[i], single)
    fresh = ask(tmp_path, [[one] for one in load[8:16]], enable_prefix_caching=False)
    for i, (single,) in enumerate(fresh, 8):
        equal(together[i], single)


def test_what_is_refused(tmp_path):
    """The wiring of two refusals; the rest are tests/plugins/vllm/test_plan.py's."""
    assert "--max-model-len is 512; the plan stretches 512 tokens to 4,096" in ask(tmp_path, [], max_model_len=512)["error"]
    older = "import ropewalk.plugins.vllm.entry as known; known.KNOWN = ('0.31.0',)"
    assert f"of vLLM {KNOWN[-1]}; known is 0.31.0" in ask(tmp_path, [], patch=older)["error"]


def test_over_http(tmp_path, model):
    """A scale by length, one that is asked for, and errors that come back as the client's."""
    with vllm_serving(TINY, tmp_path / "log", prepared(tmp_path, PLAN)) as port:
        for n, more, scale in ((300, {}, 1), (700, {}, 2), (300, {"vllm_xargs": {"rope_scale": 8}}, 8)):
            status, told = post(port, prompt=IDS[:n], **more)
            assert status == 200, told
            found = {"logprobs": told["choices"][0]["logprobs"]["token_logprobs"]}
            wanted = by_ropewalk(model, request(n, new=8), scale)
            assert furthest(found, {"logprobs": wanted["logprobs"][-8:]}) < NOISE
        for more, words in (
            ({"vllm_xargs": {"rope_scale": 3}}, "the served plan has the scales 1, 2, 4, 8"),
            ({"cache_salt": "ropewalk:1"}, "the plan's own. Choose another"),
        ):
            status, told = post(port, prompt=IDS[:40], **more)
            assert (status, words in told["error"]["message"]) == (400, True), told
    assert "ropewalk: plan dynamic-yarn-request-1" in (tmp_path / "log").read_text()


def post(port, **body):
    body = {"model": "tiny", "max_tokens": 8, "temperature": 0, "logprobs": 1, "ignore_eos": True, **body}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
