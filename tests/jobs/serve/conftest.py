"""The bundled model served under each plan, once per file of tests."""

import pytest

from support.running import serving
from support.serving import PLANS, opened


@pytest.fixture(scope="module", params=PLANS)
def each(request):
    served = opened(PLANS[request.param])
    with serving(served) as (client, _):
        yield served, client


@pytest.fixture(scope="module")
def causal():
    served = opened(PLANS["causal"])
    with serving(served) as (client, engine):
        yield served, client, engine
