# make demo    set up and run the example's check offline, with the stand-in model
# make test    set up and run the whole test suite; PYTEST_ARGS adds arguments
# make lint    style, types, import directions, fresh lock files
# make bench   measure what docs/development.md promises
# make lock    compile the lock files again; UPGRADE=1 takes the newest versions
# make clean   remove what the set-up and the tools made
#
# PYTHON=/path/to/python names the Python to use: 3.10, 3.11 or 3.12.

SHELL := /bin/sh
PYTHON ?=
PYTEST_ARGS ?=
PYTEST_WORKERS ?= auto
BIN := .venv/bin
SETUP := PYTHON="$(PYTHON)" sh tools/python.sh -m tools.setup_venv

.DEFAULT_GOAL := help
.PHONY: help demo test lint lint-style lint-types lint-imports lint-locks format bench lock clean setup setup-dev system

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

setup:
	@$(SETUP) run

setup-dev:
	@$(SETUP) dev

system:
	@sh tools/system_packages.sh

demo: setup
	@$(BIN)/llmops check web-classification

test: setup-dev system
	@$(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

lint: lint-style lint-types lint-imports lint-locks

lint-style: setup-dev
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

lint-types: setup-dev
	@$(BIN)/mypy

lint-imports: setup-dev
	@$(BIN)/lint-imports --no-logo

lint-locks: setup-dev
	@$(BIN)/python -m tools.lock --check

format: setup-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup-dev
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

lock: setup-dev
	@$(BIN)/python -m tools.lock $(if $(UPGRADE),--upgrade)

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
