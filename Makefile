# Gristmill. `make help` lists the targets; only Python 3.11-3.13 and make are needed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A file's tests stay in one process, as its fixtures do.
PYTEST := $(BIN)/python -P -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
ROOT ?= runs
CODE := flows pipeline model tests benchmarks

.PHONY: help setup demo demo-tiny test test-all check format clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp file: a changed lock or project file installs again, an unchanged one costs nothing.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "error: Python %d.%d found; 3.11 to 3.13 is needed (set PYTHON=...)" % v)'
	@echo "==> creating $(VENV) and installing the exact versions of requirements.lock (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=$(CURDIR)/requirements.lock PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

setup: $(STAMP) ## create .venv with the exact versions of the lock file

demo: $(STAMP) ## train, tune, evaluate and register a model from this Python's documentation
	@$(BIN)/mill run flows/configs/pydocs.yaml root=$(ROOT)

demo-tiny: $(STAMP) ## the same graph at toy size, in about a minute
	@$(BIN)/mill run flows/configs/tiny.yaml root=$(ROOT)-tiny

test: check ## format, lint, types, import contracts and the test suite (< 10 minutes)
	@$(PYTEST) -m "not slow and not system and not consumer and not soak"

test-all: check ## everything, also slow, system (Chromium), consumer and soak tests
	@$(PYTEST)

check: $(STAMP) ## format, lint, types and import contracts only
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the project's format
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)

clean: ## remove the environment, caches and runs/
	rm -rf $(VENV) runs runs-tiny build .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
