# Everything a newcomer or CI does, by name. `make help` lists it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= auto

.PHONY: help install demo test lint faults bench lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: $(VENV)/.installed ## make the virtual environment from the locked dependencies

demo: install ## start a server and the nix service, and drive them over NATS
	@$(BIN)/python -m examples.demo

lint: install ## formatter check, linter, strict types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## lint, then the whole suite with coverage
	$(BIN)/pytest -n $(JOBS) --cov --cov-report=term-missing:skip-covered

faults: install ## the fault suite in its long form, and the table of what came of it
	FAULT_ROUNDS=$${FAULT_ROUNDS:-10} $(BIN)/pytest tests/faults -n $(JOBS) --show-capture=no

bench: install ## print the benchmark tables
	$(BIN)/python -m benchmarks

lock: ## resolve the dependencies anew; the lock holds versions and hashes, no addresses
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra postgresql --extra prometheus --extra bench --generate-hashes --universal \
	  --python-version 3.11 --no-header --no-annotate --no-emit-index-url --quiet -o requirements/dev.txt

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage .hypothesis dist
