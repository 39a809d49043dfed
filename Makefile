# Every recipe keeps standard output for the command it runs; all else goes to standard error, so that
# `make demo ARGS="--once --json" > result.json` works.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test check drill bench docs lock clean
ARGS ?=
BIN := .venv/bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv with everything, the tools of the tests included
	@deploy/setup.sh dev >&2

demo: ## everything up with demo data; Ctrl-C ends it (ARGS="--once --json")
	@deploy/setup.sh run >&2
	@exec $(BIN)/onestop demo $(ARGS)

test: ## all checks and all tests (ARGS goes to pytest)
	@deploy/setup.sh dev >&2
	@exec $(BIN)/python -m tests.run $(ARGS)

check: ## the checks without the tests: ruff, mypy, import-linter, own lints
	@deploy/setup.sh dev >&2
	@exec $(BIN)/python -m tests.run --checks-only

drill: ## kill things and count what is lost (ARGS="--cases 2000 --kills 100 --seed 7 --json")
	@deploy/setup.sh dev >&2
	@exec $(BIN)/python -m tests.drills $(ARGS)

bench: ## how fast, beside Celery, nameko, FastStream and dramatiq (ARGS="--json", "--all --json")
	@deploy/setup.sh dev >&2
	@exec $(BIN)/python -m tests.bench $(ARGS)

docs: ## write the generated files again: OpenAPI, AsyncAPI, docker-compose.yml (ARGS=--release keeps the contracts)
	@deploy/setup.sh dev >&2
	@$(BIN)/python -m deploy.generated $(ARGS)

lock: ## resolve what we depend on again into the lock files; what fits stays (ARGS=--upgrade renews all)
	@deploy/setup.sh dev >&2
	@$(BIN)/uv pip compile $(LOCK) --group build pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile $(LOCK) --group build --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	@cd tests/contracts-tools && ../../$(BIN)/uv pip compile $(LOCK) --no-deps requirements.in -o requirements.lock
	@cd tests/contracts-tools && npm install --package-lock-only --silent
LOCK := $(ARGS) --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean: ## remove .venv and caches (the data of the demo stays)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@rm -rf tests/contracts-tools/node_modules
	@find services shared deploy tests -name __pycache__ -type d -prune -exec rm -rf {} +
