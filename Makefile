# Everything runs from .venv, which `make install` creates. Stamp files make a second run quick.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# Tests start hundreds of daemons: what Python has compiled once is kept, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=
PYTEST_ARGS ?=
STAGING_ARGS ?=
# Most tests wait for processes and servers: four at a time, a file stays together.
PARALLEL ?= -n 4 --dist loadfile

.PHONY: help install demo check test test-ui test-cgroup2 lint servers simulate fuzz ui bench bench-faults bench-locality format constraints clean \
  staging staging-down staging-restart staging-test

help:  ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null \
	  || { echo "make: there is no $(PYTHON); install Python 3.11 or newer, or name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || deploy/dev/apt-install.sh python3-venv
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# What a user gets: the package and what it needs at run time.
$(VENV)/.runtime: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

# What a developer needs on top.
$(VENV)/.dev: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	@touch $(VENV)/.runtime $@

install: $(VENV)/.dev  ## create .venv with the package (editable) and the tools for working on it

demo: $(VENV)/.runtime  ## run the worked example and a job array on the embedded cluster
	@$(BIN)/python -m broker_mesos.demo

lint: $(VENV)/.dev  ## formatter check, linter, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: lint  ## the quick part, under a minute: lint, and the tests that need no server and little time
	BMESOS_QUICK=1 $(BIN)/python -m pytest -q -m 'not servers and not slow' $(PARALLEL) $(PYTEST_ARGS)

servers:  ## install Debian's rabbitmq-server, redis-server, iproute2 and libseccomp2 when missing (never started as services)
	@{ [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && command -v redis-server >/dev/null && [ -x /sbin/ip ] \
	    && /sbin/ldconfig -p | grep -q 'libseccomp\.so\.2'; } \
	  || deploy/dev/apt-install.sh rabbitmq-server redis-server iproute2 libseccomp2

test: lint servers  ## everything but the browser: lint, and all tests, on private RabbitMQ and Redis
	$(BIN)/python -m pytest $(PARALLEL) --ignore tests/ui $(PYTEST_ARGS)

$(VENV)/.browser: $(VENV)/.dev
	@[ -x /usr/bin/chromium ] || deploy/dev/apt-install.sh chromium \
	  || { echo "make: Chromium cannot be installed, so that the dashboard is not tested: apt-get install chromium" >&2; exit 1; }
	@$(PIP) --editable '.[ui-tests]' \
	  || { echo "make: playwright cannot be installed, so that the dashboard is not tested: pip install '.[ui-tests]'" >&2; exit 1; }
	@touch $@

test-ui: $(VENV)/.browser servers  ## the dashboard in a browser: installs Debian's chromium, and playwright (2 minutes)
	timeout --verbose 900 $(BIN)/python -m pytest tests/ui $(PYTEST_ARGS)

staging: $(VENV)/.runtime  ## start a staging cluster of containers (docs/staging.md)
	$(BIN)/python deploy/staging up

staging-down: $(VENV)/.runtime  ## remove it, with all that it keeps
	$(BIN)/python deploy/staging down

staging-restart: $(VENV)/.runtime  ## restart each of its containers, one after the other, without losing a task
	$(BIN)/python deploy/rolling-restart

staging-test: $(VENV)/.runtime  ## test such a cluster with faults and a rolling restart, and remove it (STAGING_ARGS=--help)
	$(BIN)/python deploy/staging-test $(STAGING_ARGS)

GUEST ?=
PARTS ?=
test-cgroup2: $(VENV)/.dev servers  ## test task cgroups and the agent's unit on cgroup v2 with systemd, in a guest (root; GUEST=FOLDER, PARTS=units)
	deploy/dev/test-cgroup2.sh $(BIN)/python "$(GUEST)" $(PARTS)

SEEDS ?= 1000
START ?= 0
PROFILE ?= full
simulate: $(VENV)/.dev  ## run SEEDS=1000 simulated clusters with faults, from START=0 (PROFILE=calm|crash|full)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --start $(START) --profile $(PROFILE)

SECONDS_OF_FUZZING ?= 600
fuzz: $(VENV)/.dev servers  ## send new faulty input to everything that reads any, for SECONDS_OF_FUZZING=600
	$(BIN)/python -m tests.fuzz --servers --seconds $(SECONDS_OF_FUZZING)

BENCH ?=
SIZE ?= usual
bench: $(VENV)/.dev servers  ## measure beside peers from PyPI, write docs/benchmarks.md (BENCH="tasks latency", SIZE=full, BENCH_PEERS=none)
	$(BIN)/python -m benchmarks --size $(SIZE) $(BENCH)

bench-locality: $(VENV)/.dev  ## simulate delay scheduling, and draw its picture for the docs (needs no server)
	$(BIN)/python -m benchmarks.locality $(BENCH_ARGS)

bench-faults: $(VENV)/.dev servers  ## measure how long faults are felt
	@[ -e benchmarks/faults.py ] || { echo "make: benchmarks/faults.py does not exist yet" >&2; exit 1; }
	$(BIN)/python -m benchmarks.faults $(BENCH_ARGS)

ui/node_modules/.installed: ui/package.json ui/package-lock.json
	@command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' \
	  || { echo "make: the dashboard is built with Node.js 20 or newer; its built files are in the repository, so that only changes need it" >&2; exit 1; }
	cd ui && npm ci --silent
	@touch $@

ui: $(VENV)/.dev ui/node_modules/.installed  ## build the dashboard (ui/) into broker_mesos/web/static; needs Node.js 20
	$(BIN)/python ui/generate.py
	cd ui && npx tsc --noEmit && node build.mjs

format: $(VENV)/.dev  ## format, mend what can be mended, fill in the docs' tables, draw their pictures
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/figures/allocation.py

constraints: $(VENV)/.dev  ## write down the versions that are installed now
	@{ echo '# The exact set that was tested (`make constraints` writes it anew). Versions only: where they come from is pip'"'"'s business.'; \
	   $(BIN)/python -m pip freeze --exclude-editable | grep '=='; } > constraints.tmp
	@mv constraints.tmp constraints.txt

clean:  ## remove .venv, caches and build output
	rm -rf $(VENV) .bench dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
