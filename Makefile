# On a machine with only python3 (and its venv module), make and git, each target makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs

.PHONY: demo test test-all check fmt bench mutants tiny docs

demo: $(STAMP)
	$(BIN)/ropewalk demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not engines" -n auto --dist loadfile

test-all: $(DOCS_STAMP) mutants
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python runs/bench.py
	$(BIN)/python runs/bench_evaluate.py
	$(BIN)/python runs/bench_ruler.py
	$(BIN)/python runs/bench_fit.py

mutants: $(STAMP)
	$(BIN)/python tests/mutants.py

tiny: $(STAMP)
	$(BIN)/python runs/train_tiny.py --bf16

# The site: open out/site/index.html. A page that is missing, or a link that leads nowhere, fails the build.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# torch first and by exact version: left to choose, pip takes a build with gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@
