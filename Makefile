# make lra    set up .venv and run studies/lra.yaml to its report
# make test   set up .venv and pass every check
# make smoke  every task with every variant, a few steps each
# make bench  our layers against other packages' (about an hour), with those packages in an environment of their own

PYTHON ?= python3
VENV ?= .venv
RESULTS ?= results
# Runs of studies/lra.yaml at a time. They share the cores, so set it to 1 where times matter more than waiting.
WORKERS ?= 2
PEERS ?= .venv-peers
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PIP := $(VENV)/bin/python $(INSTALL)

.PHONY: lra smoke test bench check format clean
.DEFAULT_GOAL := lra

lra: $(VENV)/.run
	$(VENV)/bin/arena run studies/lra.yaml --results $(RESULTS) --workers $(WORKERS)

smoke: $(VENV)/.run
	$(VENV)/bin/arena run studies/smoke.yaml --results $(RESULTS)

test: check
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal

bench: $(PEERS)/.done
	$(PEERS)/bin/python -m bench.peers --dtype both

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist build

$(VENV)/bin/python $(PEERS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "attention-arena needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.run

# The last package compiles against the installed torch; without it the benchmark reports its layers as missing.
$(PEERS)/.done: pyproject.toml constraints.txt | $(PEERS)/bin/python
	$(PEERS)/bin/python $(INSTALL) --editable '.[peers]' setuptools wheel
	$(PEERS)/bin/python $(INSTALL) --no-build-isolation --no-deps pytorch-fast-transformers || \
		echo "pytorch-fast-transformers cannot be built here; see bench/README.md" >&2
	@touch $@
