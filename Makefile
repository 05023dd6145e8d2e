# make demo           set up and run the example's check offline, with the stand-in model
# make test           set up and run the whole test suite; PYTEST_ARGS adds arguments
# make explore        look for counterexamples to the properties: many examples, others each time; SEED=N repeats
# make test-pythons   the same with the other Pythons, of 3.10 to 3.12, that are found
# make test-azure     the tests that drive the Azure SDKs against the emulator, in an environment of their own
# make test-azure-full  the same with every fault at every request, and every kill; takes long
# make test-conformance  compare flows of every kind with promptflow's own batch run; takes minutes
# make pins           say whether newer releases of the pinned Azure SDKs import and pass the contract suite; takes long
# make lint           style, types, import directions, fresh lock files, pipelines, flows
# make bench          measure what docs/development.md promises
# make lock           compile the lock files again; UPGRADE=1 takes the newest versions
# make clean          remove what the set-up and the tools made
#
# PYTHON=/path/to/python names the Python to use: 3.10, 3.11 or 3.12.

# What was just installed is compiled when it is imported; without keeping that, each process would do it again.
unexport PYTHONDONTWRITEBYTECODE

SHELL := /bin/sh
PYTHON ?=
PYTEST_ARGS ?=
SEED ?=
PYTEST_WORKERS ?= auto
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := PYTHON="$(PYTHON)" sh tools/python.sh -m tools.setup_venv --venv "$(VENV)"

.DEFAULT_GOAL := help
.PHONY: setup-azure pins node-packages help demo test explore test-pythons test-azure test-azure-full lint lint-style lint-types lint-imports lint-locks lint-templates lint-flows format bench lock clean setup setup-dev system test-conformance

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

test: setup-dev system node-packages
	@$(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist loadgroup --ignore=tests/conformance $(PYTEST_ARGS)

explore: setup-dev
	@seed="$(SEED)"; seed="$${seed:-$$(date +%s)}"; echo "== SEED=$$seed"; \
	$(BIN)/python -m pytest --numprocesses $(PYTEST_WORKERS) -m hypothesis \
	    --hypothesis-profile=explore --hypothesis-seed=$$seed $(PYTEST_ARGS)

test-conformance: setup-dev
	@$(BIN)/python -m pytest tests/conformance $(PYTEST_ARGS)

test-pythons:
	@for version in 3.10 3.11 3.12; do \
	    if ! $(BIN)/python --version 2>&1 | grep -q "Python $$version\." && python$$version -c '' 2>/dev/null; then \
	        echo "== Python $$version"; \
	        $(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	    fi; \
	done

setup-azure:
	@PYTHON="$(PYTHON)" sh tools/python.sh -m tools.setup_venv --venv .venv-azure azure

test-azure: setup-azure
	@.venv-azure/bin/python -m pytest --numprocesses $(PYTEST_WORKERS) --dist loadgroup tests/azure $(PYTEST_ARGS)

test-azure-full:
	@$(MAKE) --no-print-directory test-azure PYTEST_ARGS="--full -o faulthandler_timeout=0 $(PYTEST_ARGS)"

pins:
	@PYTHON="$(PYTHON)" sh tools/python.sh -m tools.pins $(GROUPS)

node-packages: setup-dev
	@$(BIN)/python -m tools.check_templates install

lint: lint-style lint-types lint-imports lint-locks lint-templates lint-flows

lint-style: setup-dev
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

lint-types: setup-dev
	@$(BIN)/mypy

lint-imports: setup-dev
	@$(BIN)/lint-imports --no-logo

lint-locks: setup-dev
	@$(BIN)/python -m tools.lock --check

lint-templates: setup-dev
	@$(BIN)/python -m tools.check_templates

lint-flows: setup-dev
	@$(BIN)/llmops lint --strict

format: setup-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup-dev
	@for script in benchmarks/[a-z]*.py; do \
	    echo "== $$script"; \
	    $(BIN)/python -m "benchmarks.$$(basename "$$script" .py)" || exit 1; \
	done

lock: setup-dev
	@$(BIN)/python -m tools.lock $(if $(UPGRADE),--upgrade)

clean:
	rm -rf .venv .venv-* .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
