# Zenith: `make run` starts everything, `make test` tests everything. Needs Python 3.11+ and make.
.DEFAULT_GOAL := help
.PHONY: help run test check test-long bench lint format requirements clean

PYTHON ?= python3
# Relative, because make cannot name a target whose path contains a space, and the clone's path may.
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --quiet
ARGS ?=

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## start everything on this machine (ARGS="--port 9000" passes options to `manage.py up`)
	@exec $(PY) manage.py up $(ARGS)

test: $(VENV)/dev.stamp ## linters, types, import rules and all tests (ARGS="-k trigger" goes to pytest)
	@$(PY) tests/run_all.py $(ARGS)

check: $(VENV)/dev.stamp ## the inner loop: linters, types and the tests that start no process
	@$(PY) tests/run_all.py --quick $(ARGS)

test-long: $(VENV)/dev.stamp ## all tests with more examples, and the fault cases with more seeds
	@$(PY) tests/run_all.py --long $(ARGS)

bench: $(VENV)/dev.stamp ## benchmarks, as ratios against peers in one run
	@$(PY) -m bench $(ARGS)

lint: $(VENV)/dev.stamp ## linters, types and import rules only
	@$(PY) tests/run_all.py --lint-only

format: $(VENV)/dev.stamp ## rewrite the code in the project's format
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

requirements: $(VENV)/dev.stamp ## compile requirements*.in to exact pins
	@for name in requirements requirements-embedded requirements-flower requirements-otel requirements-dev; do \
		$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
			$$name.in -o $$name.txt || exit 1; done

clean: ## remove the virtual environment and the tools' caches (your data in .zenith stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Zenith needs Python 3.11 or newer; name one with: make run PYTHON=python3.x")'
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt requirements-embedded.txt | $(PY)
	@echo "Installing Zenith's dependencies (the first time takes a minute)"
	@$(PIP) -r requirements.txt -r requirements-embedded.txt
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements-dev.txt
	@echo "Installing the tests' dependencies"
	@$(PIP) -r requirements-dev.txt
	@touch $@
