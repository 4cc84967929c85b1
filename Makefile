# Every target sets up what it needs: a virtual environment in .venv with the pinned dependencies and this project, editable.
# Needs Python >= 3.11, git and make. `make help` lists the targets.

PYTHON      ?= python3
VENV        ?= .venv
JOBS        ?= 2
# Extra arguments for the installation of torch, for example a package index with a build for your CPU or GPU.
TORCH_ARGS  ?=
# Extra arguments for pytest: make test ARGS="-k warp"
ARGS        ?=

BIN         := $(VENV)/bin
STAMP       := $(VENV)/.installed
NEWEST      := .venv-newest
TORCH       := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
PIP         := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# One thread in each of JOBS workers: the models are tiny, and results do not depend on the number of cores.
PYTEST      := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow long test-all test-newest check format bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## install everything into .venv (the other targets do it by themselves)

# torch goes first, alone and pinned. Where pip's index has no build for CPUs, TORCH_ARGS names one that has.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "error: unisono needs Python >= 3.11, and '$(PYTHON)' is not one; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $(TORCH) into $(VENV) (once; a few minutes)"
	@$(PIP) install --constraint constraints.txt $(TORCH_ARGS) $(TORCH) setuptools
	@echo "installing unisono and its other dependencies"
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev,plots,server,fit,harness]'
	@touch $@

demo: $(STAMP) ## two ensembles with colour trace, then the measured speed-up
	@$(BIN)/python benchmarks/demo.py

test: $(STAMP) ## the fast tests (about ten minutes on two cores)
	@echo "running the fast tests in $(JOBS) processes: about ten minutes on two cores; JOBS=n takes n processes"
	@$(PYTEST) -m "not slow and not long" $(ARGS)

slow: $(STAMP) ## the slow tests only (statistics with tight bounds, the wheel)
	$(PYTEST) -m slow $(ARGS)

test-all: $(STAMP) ## fast and slow tests in one run
	$(PYTEST) -m "not long" $(ARGS)

long: $(STAMP) ## tests that take minutes each: compiling every architecture, examples of documents, other programs
	$(PYTEST) -m long $(ARGS)

# Not pinned: what the bounds of pyproject.toml allow today. TORCH_NEWEST=torch==2.13.0 takes an older torch, as where the newest has no build for CPUs.
TORCH_NEWEST ?= torch
test-newest: ## the fast tests with the newest allowed versions, in an environment of their own (.venv-newest)
	@test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	@$(NEWEST)/bin/python -m pip --disable-pip-version-check --quiet --quiet install $(TORCH_ARGS) '$(TORCH_NEWEST)' setuptools
	@$(NEWEST)/bin/python -m pip --disable-pip-version-check --quiet --quiet install --upgrade --upgrade-strategy eager \
		--no-build-isolation --editable '.[dev,plots,server,fit,harness]' '$(TORCH_NEWEST)'
	@$(NEWEST)/bin/python -m pip list --disable-pip-version-check | grep -E '^(torch|transformers|tokenizers|numpy|typer) '
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest -n $(JOBS) --dist loadgroup -m "not slow and not long" $(ARGS)

check: $(STAMP) ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## reformat and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## a short speed measurement; results are printed
	$(BIN)/unisono bench --grid benchmarks/short.yaml

clean: ## remove the environment, builds and caches
	rm -rf $(VENV) $(NEWEST) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find src tests zoo -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
