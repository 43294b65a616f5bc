"""Arguments of the wrong kind are refused with an error of ours, in words, and nothing else."""

import pytest

from ropewalk.errors import RopewalkError

NO_MODELS = [None, 3, [1], object(), "no-such-model", "/no/such/folder", "missing.gguf"]
NO_PLANS = [3, ["x"], object(), "no-such-plan.json", {"a": 1}]
NO_LENGTHS = ["long", [1], 4096.5, -1, True, object()]


def refuses(function, *args, **kwargs):
    with pytest.raises(RopewalkError) as caught:
        function(*args, **kwargs)
    assert len(str(caught.value)) > 20, "what was seen, and the rule it broke"
    return str(caught.value)
