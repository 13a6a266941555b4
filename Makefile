# Every target sets up what it needs: a fresh machine with Python 3.11 and make is enough.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.stamp
PIP_AUDIT := 2.10.1
PYTEST := $(BIN)/python -m pytest
# A file stays in one process, since its tests share sweeps; the slow files start first. A process
# that crashes ends the run: with another in its place xdist 3.8 waits for ever (its issue 1323).
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: help setup sweep test check lint types imports audit browser cluster chaos clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make or update the environment in .venv

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --no-deps -r requirements.lock
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true # on all cores; pip would on one
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

sweep: $(STAMP) ## the main job: a real sweep on MNIST, its front in MLflow (about 5 minutes)
	$(BIN)/hoyer-search run quickstart

test: $(STAMP) ## all tests that need no GPU, browser or cluster, with coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL) --durations 10 \
		-m "not gpu and not browser and not cluster and not chaos"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --skip-empty

browser: $(STAMP) ## tests in a headless Chromium (Debian: chromium, chromium-driver)
	$(PYTEST) -m browser tests/tracking

cluster: $(STAMP) ## tests with several Ray nodes and real servers (Debian: postgresql, iproute2)
	$(PYTEST) --durations 10 -m "cluster and not chaos" tests

chaos: $(STAMP) ## every fault of docs/reliability.md with its figures (about an hour)
	$(PYTEST) -s --durations 0 -m "cluster or chaos" tests

lint: $(STAMP) ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## static types
	$(BIN)/mypy

imports: $(STAMP) ## direction of imports
	$(BIN)/lint-imports

audit: $(STAMP) ## known vulnerabilities of what requirements.lock pins (asks pypi.org)
	test -x .venv-audit/bin/pip-audit || $(BIN)/python -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit==$(PIP_AUDIT)
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements.lock

check: test lint types imports ## all that CI checks

clean: ## remove the environment and caches
	rm -rf .venv .venv-audit .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist
