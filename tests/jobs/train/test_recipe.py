"""Recipes: shipped ones parse, typos are named by their path, flags go where they belong."""

import pytest

from ropewalk.errors import BadConfig, UnknownName
from ropewalk.jobs.train.recipe import read_recipe, shipped

GIVEN = {"model": "m", "data": ("d",)}


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_parse_and_plan(name):
    from ropewalk.engines.transformers.checkpoint import local_checkpoint, read_config
    from ropewalk.engines.transformers.write import read
    from ropewalk.measure.texts import library_files  # noqa: F401  (the texts that they name come with Python)

    recipe = read_recipe(name, {"model": "ropewalk-tiny"} | ({} if name == "tiny-cpu" else {"data": ("d",)}))
    spec = read(read_config(local_checkpoint("ropewalk-tiny")))
    assert all(recipe.plan(stage, spec).target_length > 0 for stage in recipe.stages)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stages:\n  - {factor: 2}\n  - {factor: 4, stepz: 3}\n", r"stages\.1\.stepz: Extra inputs"),
        ("stages:\n  - {factor: 2, rate: fast}\n", r"stages\.0\.rate: .*it is 'fast'"),
        ("lora: {rank: 0}\n", r"lora\.rank: .*greater than or equal to 1.*it is 0"),
        ("sed: 1\n", r"sed: Extra inputs"),
        ("stages:\n  - {factor: 2, to: 4096}\n", r"stages\.0: give factor or to, and not both"),
        ("stages: 3\n", "a list of stages is wanted"),
        ("- 1\n", "holds list"),
        ("a: [\n", "is not YAML"),
        ("precision: float16\n", "precision: .*float32"),
        ("x: 2026-13-45\n", "is not YAML: month must be in"),
        ("[" * 3000, "is not YAML: maximum recursion"),
        ("lora: 5\n", r"lora: keys and values are wanted \(it is 5\)"),
        ("track: wandb\n", r"track: a list is wanted \(it is 'wandb'\)"),
        ("stages:\n  - {factor: .inf}\n", r"stages\.0\.factor: Input should be a finite number"),
        ("stages:\n  - {factor: 2, weight_decay: 1e30}\n", r"weight_decay: .*less than or equal to 1"),
    ],
)
def test_a_typo_is_named_by_its_path(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadConfig, match=words):
        read_recipe(str(path), GIVEN)


def test_only_what_is_wrong_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("stages:\n  - {factor: 2, steps: 0}\n")
    with pytest.raises(BadConfig) as error:
        read_recipe(str(path), GIVEN)
    (_, line) = str(error.value).splitlines()
    assert line.startswith("  stages.0.steps: ")


@pytest.mark.parametrize("flag", [{"lora_rank": 4}, {"lora": True}])
def test_a_flag_for_adapters_that_are_none(tmp_path, flag):
    path = tmp_path / "mine.yaml"
    path.write_text("lora: 5\n")
    with pytest.raises(BadConfig, match=r"lora: keys such as rank and alpha are wanted \(it is 5\)"):
        read_recipe(str(path), GIVEN | flag)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'tiny-cpu'"):
        read_recipe("tiny-cpi", GIVEN)
    with pytest.raises(BadConfig, match="cannot be read"):
        read_recipe(str(tmp_path / "none.yaml"), GIVEN)
    (tmp_path / "x.yaml").write_bytes(b"a: caf\xe9")
    with pytest.raises(BadConfig, match="cannot be read"):
        read_recipe(str(tmp_path / "x.yaml"), GIVEN)
    with pytest.raises(BadConfig, match="model: Field required"):
        read_recipe("", {})


def test_flags_count_for_every_stage_and_for_the_adapters(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("seed: 3\nlora: {rank: 4}\nstages:\n  - {factor: 2, steps: 9}\n  - {to: 512, steps: 8}\n")
    recipe = read_recipe(str(path), GIVEN | {"steps": 5, "lora_alpha": 2.0, "seed": 4})
    assert [(s.factor, s.to, s.steps) for s in recipe.stages] == [(2.0, None, 5), (None, 512, 5)]
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.seed) == (4, 2.0, 4)
    assert [(s.factor, s.to) for s in read_recipe(str(path), GIVEN | {"to": 1024}).stages] == [(None, 1024)] * 2
    assert read_recipe(str(path), GIVEN | {"lora": False}).lora is None
    assert read_recipe("", GIVEN).stages[0].factor == 8
    assert read_recipe("", GIVEN | {"steps": 7}).stages[0].factor == 8
