# Two commands need nothing but Python 3.11 or 3.12, git and make: `make run` and `make test`.
# Everything is installed into .venv, from the lock, hashes checked; a second run starts at once.

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for name in python3.12 python3.11 python3; do $$name -c "$(FITS)" 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test test-external test-slow faults bench check lint layers types migrations contract-check contract lock clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 16

run: .venv/installed ## Run the service, with servers of its own, on http://127.0.0.1:8000.
	@$(BIN)/shelfmark up

test: .venv/installed ## Run the tests.
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup

test-external: .venv/installed ## Run the tests against TEST_DATABASE_URL and TEST_REDIS_URL.
	@test -n "$(TEST_DATABASE_URL)" || { echo "Set TEST_DATABASE_URL to a PostgreSQL whose user may create databases."; exit 2; }
	@TEST_DATABASE_URL="$(TEST_DATABASE_URL)" TEST_REDIS_URL="$(TEST_REDIS_URL)" $(BIN)/pytest -n $(WORKERS) --dist loadgroup

test-slow: .venv/installed ## Run the tests at full size.
	@$(BIN)/pytest -m slow

faults: .venv/installed ## Break what the service stands on, in every way that is promised to be survived; the table at the end.
	@$(BIN)/pytest tests/faults -q -m "" -p no:randomly --tb=short --all-faults $(if $(TABLE),--fault-table $(TABLE))

bench: .venv/installed ## Measure this service beside what one would write by hand (needs wrk); BENCH="--quick" for two minutes.
	@$(BIN)/python -m bench.ladder $(BENCH)

check: lint layers types migrations contract-check test ## Everything that must hold before a change is committed.

lint: .venv/installed ## Style, and common mistakes.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/hadolint Containerfile

layers: .venv/installed ## Who may import whom.
	@$(BIN)/lint-imports --no-cache

types: .venv/installed ## Static types.
	@$(BIN)/mypy

migrations: .venv/installed ## The models and the migrations say the same, and no migration holds anybody up.
	@$(BIN)/python -m service.migrations.linting
	@$(BIN)/pytest -q -p no:randomly tests/migrations/test_in_step.py

contract-check: .venv/installed ## contract.json lists what is served.
	@$(BIN)/shelfmark contract --check contract.json

contract: .venv/installed ## Write contract.json anew.
	@$(BIN)/shelfmark contract --write contract.json

lock: ## Write the lock files anew (needs uv).
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --extra local pyproject.toml -o requirements.lock
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --extra local --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## Remove what was installed and cached; the data in .shelfmark/ stay.
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/installed: requirements-dev.lock
	@test -n "$(PYTHON)" || { echo "Shelfmark needs Python 3.11 or 3.12. Name one: make run PYTHON=/path/to/python3.12"; exit 2; }
	@echo "Installing into .venv (about a minute)..."
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch .venv/installed
