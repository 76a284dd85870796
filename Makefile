# make run, make test: the two commands. make check: what to run before every commit.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RIVALS := .venv-bench

.PHONY: run test services services-of-others services-of-ingest journeys soak chaos faults drills bench check setup tools requirements format generate clean

run: tools
	@$(BIN)/twinfeed up

# two at a time, as all wait much of the time: journeys take as long as a soak of ten minutes and
# most services together, and ingest's are for whoever is done first
test: tools check
	@$(MAKE) --no-print-directory -j2 --output-sync journeys soak services-of-others services-of-ingest SOAK_SECONDS=600

services journeys: tools
	@$(BIN)/pytest -m $(@:s=)

services-of-others: tools
	@$(BIN)/pytest -m service --ignore=tests/ingest

services-of-ingest: tools
	@$(BIN)/pytest -m service tests/ingest

# two hours of what happens in hours: nothing that a process takes may grow
SOAK_SECONDS ?= 7200
soak: tools
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s -m soak

# half an hour of faults at random on the whole pipeline, and then the books are balanced
chaos: tools
	CHAOS_SECONDS=1800 $(BIN)/pytest -q tests/journeys/test_chaos.py

# sixty runs of faults by seed on one stack; after each one the books are balanced
faults: tools
	FAULT_RUNS=60 $(BIN)/pytest -q -s tests/journeys/test_fault_runs.py

# every alert that can be provoked, on a stack of its own, with the rules' times divided by 30
drills: tools
	$(BIN)/python -m tests.journeys.drills --compress 30

# twinfeed beside plain Faust, Quix Streams, confluent-kafka and bytewax: ratios, in one run
bench: tools $(RIVALS)/.installed
	$(BIN)/python -m tests.benchmarks.processors --rivals $(RIVALS)/bin/python

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.contracts.generate --check
	$(BIN)/pytest -q -m unit -n auto

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: setup
	$(BIN)/python -m tests.contracts.generate
	$(BIN)/python -m tests.contracts.sql_page

setup: $(STAMP)

# Apache Kafka, Prometheus and Alertmanager, into .tools/; once
tools: setup
	@$(BIN)/twinfeed setup

$(STAMP): infra/requirements/bootstrap.txt infra/requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "twinfeed needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with PYTHON=...")'
	@echo "installing the Python packages into $(VENV)/"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r infra/requirements/bootstrap.txt
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes infra/requirements/bootstrap.txt infra/requirements/dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	@touch $@

$(RIVALS)/.installed: $(STAMP) infra/requirements/bench.txt
	@echo "installing what twinfeed is measured against into $(RIVALS)/"
	@test -x $(RIVALS)/bin/python || $(PYTHON) -m venv --without-pip $(RIVALS)
	@$(BIN)/uv pip sync -q --python $(RIVALS)/bin/python --require-hashes infra/requirements/bench.txt
	@touch $@

UV_COMPILE := uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --universal --python-version 3.11 --no-header
requirements: setup
	cd infra/requirements && for name in bootstrap runtime dev bench; do \
	  ../../$(BIN)/$(UV_COMPILE) $$name.in -o $$name.txt; done

clean:
	rm -rf $(VENV) $(RIVALS) .tools
