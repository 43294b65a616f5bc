"""Against our own server with the bundled model: a sound stretch passes, none fails, a doubled factor is seen."""

from ropewalk.checkpoints.hub import checkpoint
from ropewalk.engines.transformers.checkpoint import read_config
from ropewalk.engines.transformers.write import read
from ropewalk.jobs.doctor.live.client import Client, root_of
from ropewalk.jobs.doctor.live.endpoint import find
from ropewalk.jobs.doctor.live.job import WrittenConfig, examine
from ropewalk.jobs.doctor.live.page import write_page
from ropewalk.models.served import open_model
from ropewalk.scaling.plan import make_plan
from support.running import serving
from support.serving import TINY

L = 512


def examined(method, factor, **how):
    served = open_model(TINY, make_plan(read(read_config(checkpoint(TINY))), factor=factor, method=method))
    with serving(served) as (client, _):
        endpoint = find(Client(root_of(str(client.base_url))))
        assert (endpoint.claimed, endpoint.reader.name) == (L * factor, "echo with logprobs")
        return examine(endpoint, [L, 2 * L], L, **how)


def test_yarn_passes():
    result = examined("yarn", 2)
    assert result.verdict == "PASS", result.loss
    assert result.keys[-1].found >= 10


def test_no_stretch_fails():
    result = examined("none", 2)
    assert [result.verdict, result.loss[-1].verdict, result.keys[-1].verdict] == ["FAIL"] * 3
    assert result.loss[-1].difference.low > 0.5  # 1.07 nats, measured


def test_a_doubled_factor_is_seen_by_what_the_server_claims():
    result = examined("yarn", 4, passages=2, written=WrittenConfig(L, 2 * L))
    assert result.verdict == "FAIL"
    assert "applied twice" in result.findings[0]


def test_a_page_is_written_that_asks_the_network_for_nothing(tmp_path):
    result = examined("yarn", 2, passages=2)
    write_page(tmp_path / "x.html", result)
    page = (tmp_path / "x.html").read_text()
    assert f"{result.verdict}: {TINY}" in page
    assert "http://" not in page.split('id="plotly"')[0].replace(result.url, "").replace("http://www.w3.org", "")
