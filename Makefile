# The front door: it sets up by itself, then hands over to `maestro` (deploy/local) or pytest. Every target is safe to repeat.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
LOAD ?= 1
SEEDS ?= 50
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
LOCK_SHA := $(shell sha256sum requirements.lock | cut -c1-16)
STAMP := $(VENV)/.installed-$(LOCK_SHA)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo up down status doctor test check unit audit tools format lock chaos chaos-sabotage bench-start bench-quota bench-metering bench-archive bench-queries

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## the virtual environment, with every package pinned by hash

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Maestro needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=python3.11 and try again.")'
	@echo "set-up: virtual environment and $$(grep -c == requirements.lock) packages, pinned by hash (about 20 s the first time)"
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	@printf '%s\n' '#!/bin/sh' '# Written by `make setup`: the maestro command of this checkout.' \
		'root=$$(dirname "$$(dirname "$$(dirname "$$(readlink -f "$$0")")")")' \
		'PYTHONPATH="$$root:$$root/libs/sdk_python/src" exec "$$root/$(BIN)/python" -P -m deploy.local "$$@"' > $(BIN)/maestro
	@chmod 755 $(BIN)/maestro
	@rm -f $(VENV)/.installed-* && touch $@

demo: export MAESTRO_TYPED_AT := $(shell date +%s.%N)
demo: setup  ## Hello-Tenant: a real request becomes usage, a quota answer, a signed invoice and a proof
	@$(BIN)/maestro demo --load $(LOAD)

up: setup  ## start the stack
	@$(BIN)/maestro up

down:  ## stop the stack; no process is left
	@if [ -x $(BIN)/maestro ]; then $(BIN)/maestro down; else echo "nothing was set up here"; fi

status: setup  ## what runs, where, since when
	@$(BIN)/maestro status

doctor: setup  ## what this machine lacks, and how to get it
	@$(BIN)/maestro doctor

check: setup  ## linters, types, import rules
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports > $(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo "check: ruff, mypy, import-linter pass"

unit: setup  ## the tests that need no server
	@$(BIN)/python -m pytest tests/unit tests/contract tests/architecture -q

test: setup check  ## everything, on the real parts, shared by two processes with servers of their own; PROCESSES=1 for one
	@$(BIN)/python -m pytest $(if $(filter-out 1,$(PROCESSES)),-n $(PROCESSES) --no-loadscope-reorder)

audit: setup  ## what is known against the pinned packages (asks the package index)
	@$(BIN)/python -m deploy.supply_chain.audit

contracts: setup  ## what the code promises, as files: JSON Schemas, AsyncAPI, OpenAPI
	@$(BIN)/python -m deploy.contracts write

contracts-release: setup  ## make today's contracts the ones that changes are held to; BREAKING="why" accepts what breaks
	@$(BIN)/python -m deploy.contracts release "$(BREAKING)"

chaos: setup  ## faults by seed on a whole stack, and every number compared: SEEDS=50, START=n, or SEED=n alone; LOGS=folder
	@$(BIN)/python -m tests.chaos.run $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --result tests/chaos/results/chaos.json) $(if $(LOGS),--logs $(LOGS)) $(if $(START),--start $(START))

chaos-sabotage: setup  ## builds that are broken on purpose: the chaos suite has to fail on each
	@$(BIN)/python -m pytest tests/chaos/test_sabotage_is_seen.py -q
	@$(BIN)/python -m tests.chaos.check_sabotage

tools:  ## the tools that tests hold us to: Prometheus, cosign, the OpenTelemetry Collector (Go, some minutes once)
	@deploy/tools/prometheus.sh
	@deploy/tools/build.sh cosign
	@deploy/tools/build.sh otelcol

bench-start: setup  ## from `make demo` to the first event, cold and warm (some minutes; leaves no stack)
	@$(BIN)/python tests/bench/measure_first_event.py

bench-quota: setup  ## what a check costs
	@$(BIN)/python -m pytest tests/bench/measure_quota.py -q -s

bench-metering: setup  ## events a second from Kafka to committed: EVENTS=100000, IDS=n that stand before, RESULT=file
	@MAESTRO_BENCH_EVENTS=$(or $(EVENTS),100000) MAESTRO_BENCH_IDS=$(or $(IDS),0) MAESTRO_BENCH_RESULT=$(RESULT) \
		$(BIN)/python -m pytest tests/bench/measure_metering.py -q -s

bench-queries: setup  ## totals over a million windows, beside a plain join
	@$(BIN)/python -m pytest tests/bench/measure_queries.py -q -s

bench-archive: setup  ## what archiving an event costs, and an exact total over a million archived events
	@$(BIN)/python -m pytest tests/bench/measure_archive.py -q -s

format: setup  ## lay the code out
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

lock: setup  ## compile requirements.lock anew from pyproject.toml (no addresses in it)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
		--no-annotate --no-header pyproject.toml -o requirements.lock
