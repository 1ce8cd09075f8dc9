# make demo | make test | make lint | make bench | make fidelity | make clean
#
# Everything lives in .venv; each target installs only what it lacks. PYTHON=python3.12 chooses another interpreter.

VENV := .venv
BIN := $(VENV)/bin
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c '$(SUPPORTED)' 2>/dev/null && echo $$name && break; done)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

.PHONY: demo test lint bench fidelity clean

demo: $(VENV)/.demo
	$(BIN)/dolma-pipe demo --to demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(TESTS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

fidelity: $(VENV)/.test
	$(BIN)/python -m benchmarks.fidelity

clean:
	rm -rf $(VENV) demo build dist

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 found; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) '.[train]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) '.[train,ray,web,encoder,hf,languages,tensorboard,test]'
	@touch $@

$(VENV)/.lint: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) '.[train,ray,web,encoder,hf,languages,tensorboard,s3,test,lint]'
	@touch $@
