# Every verb prepares what it needs by itself; `make` alone lists them.
SHELL := /bin/bash
PYTHON := .venv/bin/python
SOURCES := operator e2e tests bench
PIP_COMPILE := build/lock/bin/pip-compile --quiet --allow-unsafe --generate-hashes --strip-extras \
	--no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help setup demo cluster cluster-down test test-trixie check fix faults bench soak lock

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## what the machine lacks (asks first), then .venv from the lock
	@scripts/setup

demo: setup ## show a policy change what packets do, then clean up
	$(PYTHON) -m e2e demo

cluster: setup ## start the control plane and two nodes, and leave them running
	$(PYTHON) -m e2e cluster

cluster-down: setup ## stop what `make cluster` started
	$(PYTHON) -m e2e cluster-down

check: setup ## lint, format, types and import contracts
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy $(SOURCES)
	.venv/bin/lint-imports

fix: setup ## mend what the linter and the formatter can mend
	$(PYTHON) -m ruff check --fix $(SOURCES)
	$(PYTHON) -m ruff format $(SOURCES)

test: check ## every check and every test: unit, kernel, end to end
	$(PYTHON) -m pytest
	$(PYTHON) -m e2e.trixie

test-trixie: setup ## what another nftables or Python could break, with those of Debian 13
	$(PYTHON) -m e2e.trixie $(ARGS)

faults: setup ## break the code in many subtle ways, and see that tests notice each
	$(PYTHON) -m tests.faults

soak: setup ## the tests that run for hours
	HYPOTHESIS_PROFILE=random $(PYTHON) -m pytest -m soak -o faulthandler_timeout=3600

bench: setup ## measure; writes build/bench.json
	$(PYTHON) -m bench

lock: ## write requirements/ again from pyproject.toml
	/usr/bin/python3 -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(PIP_COMPILE) --extra=dev --output-file=requirements/dev.txt pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(PIP_COMPILE) --constraint=requirements/dev.txt --output-file=requirements/run.txt pyproject.toml
