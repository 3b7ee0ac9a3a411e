# Everything sets itself up: a virtual environment in .venv, made anew when pyproject.toml changes.
#
#   make demo         the live view on a small NAT host in private namespaces; needs no root, Docker or network
#   make test         all tests; as root on Debian or Ubuntu it installs the packages that the lab needs (LAB=0: without)
#   make check        format, lint, types, import contracts, fast tests
#   make bench        what speed costs, measured side by side
#   make screenshots  the pictures of README, from the lab

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What draws whole screens, or waits for processes, sockets and the clock, takes minutes in all; `make test` runs it.
FAST := -m "not slow" --hypothesis-profile=quick tests/unit $(addprefix tests/tui/test_,formats.py header.py layout.py ordering.py)
# Without its cache every test process would compile all that it loads.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench screenshots format clean

demo: $(VENV)/made
	@$(BIN)/natop demo

test: $(VENV)/made
	@tests/lab/packages.sh
	@$(BIN)/python -m pytest -q -n 2 --ignore=tests/kernel --ignore=tests/docker
	@$(BIN)/python -m pytest -q tests/kernel tests/docker

check: $(VENV)/made
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q -n 2 $(FAST)

bench: $(VENV)/made
	@$(BIN)/python -m tests.bench

screenshots: $(VENV)/made
	@$(BIN)/python -m tests.screenshots

format: $(VENV)/made
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

$(VENV)/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "natop needs Python 3.11 or later; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tests/lab/venv-package.sh $(PYTHON)
	@test ! -L $(VENV) || { echo "$(VENV) is a link; make it anew where it is" >&2; exit 1; }
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
