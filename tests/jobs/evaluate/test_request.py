"""What is asked for: plans, lengths, and a folder that holds one run."""

import pytest

from ropewalk.api.arguments import as_plans
from ropewalk.engines.transformers.write import read
from ropewalk.errors import BadLength, BadOption
from ropewalk.jobs.evaluate.request import EvalRequest, check_numbers, make_plans, original_length, own_plan, wanted_lengths
from ropewalk.scaling.plan import make_plan

PLAIN = read({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "max_position_embeddings": 512})
YARN = read(
    {
        "model_type": "llama",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 2048,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512},
    }
)


def plans(spec, **options):
    request = EvalRequest("m", **options)
    return make_plans(request, spec, wanted_lengths(request, spec))


def test_lengths_are_as_asked_or_double_up_to_the_factor():
    assert wanted_lengths(EvalRequest("m", lengths=(2048, 512, 512)), PLAIN) == [512, 2048]
    assert wanted_lengths(EvalRequest("m", factor=4), PLAIN) == [512, 1024, 2048]
    assert wanted_lengths(EvalRequest("m", factor=3), PLAIN) == [512, 1024, 1536]
    assert wanted_lengths(EvalRequest("m", factor=1), PLAIN) == [512]
    assert wanted_lengths(EvalRequest("m"), PLAIN) == [512, 1024]
    for options in ({"lengths": (1,)}, {"factor": 0.5}):
        with pytest.raises(BadLength):
            wanted_lengths(EvalRequest("m", **options), PLAIN)


def test_saved_plans_are_read_as_far_as_they_reach():
    saved = {"a": make_plan(PLAIN, method="yarn", factor=3), "b": make_plan(PLAIN, method="ntk", factor=2)}
    assert wanted_lengths(EvalRequest("m", extra_plans=saved), PLAIN) == [512, 1024, 1536]
    assert wanted_lengths(EvalRequest("m", extra_plans=saved, factor=2), PLAIN) == [512, 1024]


def test_a_stretched_config_is_stretched_from_its_original_length():
    assert original_length(YARN) == 512
    assert wanted_lengths(EvalRequest("m", factor=2), YARN) == [512, 1024]


def test_plans_reach_the_longest_length_or_the_factor():
    assert {n: p.target_length for n, p in plans(PLAIN, methods=("none", "ntk"), lengths=(256, 2048)).items()} == {
        "none": 2048,
        "ntk": 2048,
    }
    assert plans(PLAIN, methods=("none",), lengths=(256,))["none"].target_length == 512
    assert plans(PLAIN, methods=("yarn",), lengths=(256,), factor=2)["yarn"].target_length == 1024
    assert plans(PLAIN, methods=("yarn",), lengths=(1024,), factor=8)["yarn"].target_length == 4096


@pytest.mark.parametrize("lengths", [(256,), (128, 256), (512,)])
def test_lengths_within_the_window_stretch_nothing_and_are_refused(lengths):
    """They made plans of factor 1, and rows that were equal."""
    with pytest.raises(BadLength, match=r"within the 512 tokens(.|\n)*yarn would be the model unchanged(.|\n)*--factor"):
        plans(PLAIN, methods=("none", "yarn"), lengths=lengths)
    found = plans(YARN, methods=("none", "own", "window"), lengths=lengths)
    assert list(found) == ["none", "own", "window-512"]
    assert list(plans(PLAIN, methods=("none", "yarn"), lengths=(513,))) == ["none", "yarn"]


def test_a_length_that_no_plan_reaches_is_refused():
    with pytest.raises(BadLength, match=r"the longest length, 4,096, is beyond the 1,024 tokens that the plans reach"):
        plans(PLAIN, methods=("yarn",), lengths=(4096,), factor=2)


def test_own_is_the_stretch_of_the_config():
    found = plans(YARN, methods=("own", "none"), lengths=(4096,))
    (_, stretch), *_ = found["own"].stretches
    assert (stretch.method, stretch.factor, found["own"].target_length) == ("yarn", 4.0, 4096)
    assert own_plan(PLAIN, 512, "m").name == "none"


@pytest.mark.parametrize("name", ["documents", "samples", "batch"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_of_what_is_counted_there_is_one_at_least(name, value):
    """In Python: documents=0 measured nothing and said nothing, -1 read all that there are, batch=0 was an IndexError."""
    with pytest.raises(BadOption, match=f"{name} is {value}; it must be a whole number of 1 or more"):
        check_numbers(EvalRequest("m", **{name: value}))
    with pytest.raises(BadOption, match="seed is -1"):
        check_numbers(EvalRequest("m", seed=-1))
    with pytest.raises(BadOption, match="nothing is to be measured"):
        check_numbers(EvalRequest("m", protocols=(), tasks=(), tax=False, speed=False))


def test_two_plans_of_one_name_are_refused():
    """linear, saved as yarn.json, was measured as yarn, and yarn not at all."""
    linear, yarn = (make_plan(PLAIN, factor=4.0, method=name) for name in ("linear", "yarn"))
    with pytest.raises(
        BadOption, match=r"yarn is a method, and the name of a saved plan that says something else(.|\n)*Rename"
    ):
        plans(PLAIN, methods=("none", "yarn"), factor=4, extra_plans={"yarn": linear})
    assert list(plans(PLAIN, methods=("none", "yarn"), factor=4, extra_plans={"yarn": yarn})) == ["none", "yarn"]


def test_two_files_of_one_name_are_refused(tmp_path):
    """As `choose` writes them: of a/plan.json and b/plan.json the second was measured alone."""
    files = []
    for method in ("linear", "yarn"):
        files.append(tmp_path / method / "plan.json")
        files[-1].parent.mkdir()
        files[-1].write_text(make_plan(PLAIN, factor=4.0, method=method).to_json())
    with pytest.raises(BadOption, match=r"two plans are called plan(.|\n)*Rename one of the files; in Python give a mapping"):
        as_plans(files)
    assert [plan.name for plan in as_plans(dict(zip("ab", files, strict=True))).values()] == ["linear", "yarn"]


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".hidden", 5])
def test_a_plan_is_called_as_a_file_may_be(name):
    """plans/a/b.json was written, and the report said that its plan was not in plans/."""
    with pytest.raises(BadOption, match=r"a plan is called .*; its file has that name: no slashes"):
        as_plans({name: make_plan(PLAIN, factor=4.0)})


def test_the_same_plan_under_two_names_is_said():
    with pytest.raises(BadOption, match="own and yarn are the same plan"):
        plans(YARN, methods=("own", "yarn"), lengths=(2048,))
    with pytest.raises(BadOption, match="name at least one method"):
        plans(PLAIN, methods=(), lengths=(512,))
