# Everything a newcomer or CI does, by name. `make help` lists it.
.PHONY: help install platform demo test coverage lint faults bench pythons lock clean
.DEFAULT_GOAL := help

VENV := .venv
BIN  := $(VENV)/bin
JOBS ?= auto

# The Python to begin with: the first that runs, and is new enough.
NEW_ENOUGH := import sys; sys.version_info >= (3, 11) and print(sys.executable)
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
  found=$$($$name -c '$(NEW_ENOUGH)' 2>/dev/null); if [ "$$found" ]; then echo "$$found"; break; fi; done)
FOUND   = $(or $(PYTHON),$(error Python 3.11 or later is needed))
INSTALL = $(FOUND) requirements/install.py

# What `make pythons` runs: the model, the commands, and what is installed.
TESTS ?= tests/aggregates tests/projections tests/cim_domain/cli tests/cim_domain/service/test_runner.py tests/installation

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: ## have .venv hold what developing needs, as locked
	@$(INSTALL) dev --into $(VENV)

platform: ## have .venv hold what the examples beside the kit need: HTTP, metrics, PostgreSQL
	@$(INSTALL) examples --into $(VENV)

demo: ## install what running needs, start a server and the nix service, and drive them over NATS
	@$(INSTALL) run --into $(VENV)
	@$(BIN)/python -m examples.demo

lint: install ## formatter check, linter, strict types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## lint, then the whole suite
	$(BIN)/pytest -n $(JOBS)

coverage: install ## the whole suite, and the lines that it does not reach; takes twice as long
	$(BIN)/pytest -n $(JOBS) --cov --cov-report=term-missing:skip-covered

faults: install ## the fault suite in its long form, and the table of what came of it
	FAULT_ROUNDS=$${FAULT_ROUNDS:-10} $(BIN)/pytest tests/faults -n $(JOBS) --show-capture=no

bench: install ## print the benchmark tables
	$(BIN)/python -m benchmarks

pythons: install ## a part of the suite (TESTS) on each further Python of this machine
	@found=$$($(BIN)/python requirements/pythons.py) || exit 1; \
	echo "further Pythons:" $${found:-none}; \
	for python in $$found; do \
	  own=$(VENV)-$${python##*python}; \
	  $$python requirements/install.py dev --into $$own && $$own/bin/pytest -n $(JOBS) $(TESTS) || exit 1; \
	done

COMPILE = $(VENV)-lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate --no-emit-index-url --quiet --group build
AS_DEV  = --constraints requirements/dev.txt

lock: ## lock what pyproject.toml asks for; UPGRADE=--upgrade takes what is newest
	@$(FOUND) -m venv --clear $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet uv
	$(COMPILE) -o requirements/dev.txt pyproject.toml --all-extras --group examples --group dev --group bench $(UPGRADE)
	$(COMPILE) -o requirements/examples.txt $(AS_DEV) pyproject.toml --all-extras --group examples
	$(COMPILE) -o requirements/run.txt $(AS_DEV) pyproject.toml
	$(COMPILE) -o requirements/build.txt $(AS_DEV)

clean: ## remove what the other targets made
	rm -rf $(VENV) $(VENV)-* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage .hypothesis dist
