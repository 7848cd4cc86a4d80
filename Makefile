# Everything needs only Debian with Python 3.11 and git (python3-venv too, where Debian splits it off).
# The page is built where Node.js 20+ is present.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEAFLOOR := $(BIN)/seafloor
DEMO ?= .demo
IMAGE ?= seafloor

# Where it is set, as in many images, each of some thousand processes of the tests compiles anew what
# it imports.
unexport PYTHONDONTWRITEBYTECODE

# On two cores: where tests end servers, two processes wait for leases a fifth of the time.
TEST_PROCESSES ?= 3

# What tests write is gone a second later: with memory to spare it goes to a disk in memory. What
# those that failed left stays there, as it does on a disk.
define in_memory
if [ -z "$$TMPDIR" ] && [ "$$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 6000000 ] 2>/dev/null \
    && [ "$$(awk '/^MemAvailable/ { print $$2 }' /proc/meminfo)" -gt 12000000 ]; then \
  TMPDIR=$$(mktemp -d /dev/shm/sf.XXXX) && chmod 1777 "$$TMPDIR" && export TMPDIR; \
  trap 'if [ $$? = 0 ]; then rm -rf "$$TMPDIR"; \
    else echo "what failed left is in memory; when you have seen it: rm -rf $$TMPDIR" >&2; fi' EXIT; \
fi;
endef

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test test-kubernetes test-kubernetes-checked unit lint types services services-check bench web image docs clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

# Two stamps: what the demo needs, and what the tests need beyond it. Pins are in constraints.txt.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Seafloor needs Python 3.11 or newer; set PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "error: no virtual environment could be made: apt-get install python3-venv" >&2; exit 2; }

$(VENV)/.installed: pyproject.toml constraints.txt build_web.py | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet -c constraints.txt -e '.[server]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet -c constraints.txt --group dev
	@touch $@

demo: $(VENV)/.installed ## set up, start the server, run examples/digits, follow its log, plot its metrics
	@SEAFLOOR=$(abspath $(SEAFLOOR)) DEMO=$(abspath $(DEMO)) sh examples/demo.sh

demo-down: ## stop the demo's server
	@$(SEAFLOOR) down --data $(DEMO)/data

test: $(VENV)/.installed-dev lint types ## everything that needs no Kubernetes
	@$(in_memory) $(BIN)/pytest tests --ignore tests/kube/cluster -n $(TEST_PROCESSES) --dist loadfile --durations=15

test-kubernetes: $(VENV)/.installed-dev ## what needs a cluster, which is built once, in minutes
	@$(BIN)/python -m tests.services --check kubernetes kubernetes_api
	@$(MAKE) --no-print-directory test-kubernetes-checked

test-kubernetes-checked: $(VENV)/.installed-dev
	@$(BIN)/pytest tests/kube/cluster -n 2 --durations=15

unit: $(VENV)/.installed-dev ## the pure rooms only, under a minute
	@$(BIN)/pytest tests/unit -q -m 'not slow'

lint: $(VENV)/.installed-dev ## ruff and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(VENV)/.installed-dev ## pyright, strict
	@$(BIN)/pyright

services: $(VENV)/.installed-dev ## start the real servers that tests use, until Ctrl-C
	@$(BIN)/python -m tests.services

services-check: $(VENV)/.installed-dev ## start each of them once and stop it again
	@$(BIN)/python -m tests.services --check

bench: $(VENV)/.installed-dev ## comparisons and scaling laws; prints tables; BENCH=tracking for some of them
	@$(BIN)/python -m tests.bench $(BENCH)

web: ## build the page
	@cd web && npm ci --no-fund --no-audit && npm run build

image: web ## build the image of server, code and agent with podman; IMAGE=name:tag
	@podman build -f deploy/Dockerfile -t $(IMAGE) --build-arg REVISION=$$(git rev-parse HEAD) .

clean: ## remove what was built here
	rm -rf $(VENV) $(DEMO) build dist .pytest_cache .ruff_cache .hypothesis src/seafloor/http/web web/node_modules
