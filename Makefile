# `make demo` and `make test` need nothing but Python 3.11 to 3.13: both create the virtual environment themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MESSAGES ?= 2000
ARGS ?=
ROUNDS ?= 5
# Hundreds of short-lived processes of the tests import the same modules: compiled once, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-servers compiled demo test journeys matrix installation lint fmt types contracts bench chaos faults fuzz mutation alarms docs check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed (found {v[0]}.{v[1]}); run make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary --editable ".[sample]" --group dev
	@touch $(STAMP)

setup: $(STAMP) ## create the virtual environment

setup-servers: ## install what no wheel carries (RabbitMQ, a headless Chromium, sshd, kubectl), where root and apt are at hand
	@missing=""; \
	if [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null; then \
	  echo "rabbitmq-server is installed"; \
	else missing="rabbitmq-server"; fi; \
	if command -v chromium-headless-shell || command -v chromium || command -v google-chrome; then \
	  echo "a Chromium is installed"; \
	else missing="$$missing chromium-headless-shell"; fi; \
	[ -x /usr/sbin/sshd ] || missing="$$missing openssh-server"; \
	[ -x /usr/bin/ssh ] || missing="$$missing openssh-client"; \
	[ -x /usr/sbin/ip ] || [ -x /sbin/ip ] || missing="$$missing iproute2"; \
	command -v kubectl >/dev/null || missing="$$missing kubernetes-client"; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && for name in $$missing; do \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$name \
	      || { [ $$name = chromium-headless-shell ] && apt-get install -y -qq --no-install-recommends chromium; } || exit 1; \
	  done && { service rabbitmq-server stop >/dev/null 2>&1 || true; }; \
	else \
	  echo "not installed: $$missing; their tests are skipped here and fail in CI; as root: apt-get install $$missing"; \
	fi

demo: $(STAMP) ## run the whole migration on the sample project: forward, back and forward again
	$(BIN)/migrator demo --messages $(MESSAGES) $(ARGS)

test: $(STAMP) ## run all tests but the journeys
	$(BIN)/python -m pytest -n 7 --dist loadgroup -m "not journey and not installation and not matrix" $(ARGS)

journeys: $(STAMP) ## migrate whole projects by the installed command, with real workers under load
	$(BIN)/python -m pytest -n 2 -m journey $(ARGS)

matrix: $(STAMP) ## migrate the shop in environments of old and new versions; NAME=oldest for one of them
	$(BIN)/python -m pytest -m matrix $(if $(NAME),-k $(NAME)) $(ARGS)

installation: $(STAMP) ## install the built wheel in each documented way into empty environments
	$(BIN)/python -m pytest -m installation $(ARGS)

compiled: $(STAMP) ## compile packages and tests, which each process of `make test` would otherwise do for itself
	@$(BIN)/python -m compileall -q migrator codemods checks
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null || true # `make test` says what is wrong

lint: $(STAMP) contracts ## style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fmt: $(STAMP) ## format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contracts: $(STAMP)
	$(BIN)/lint-imports --no-cache

types: $(STAMP) ## mypy --strict on what ships
	$(BIN)/mypy

bench: $(STAMP) ## all benchmarks: ratios against something run beside it
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

chaos: $(STAMP) ## kill the transfer, then whole runs of the sample, again and again: lost and doubled must stay 0
	$(BIN)/python benchmarks/chaos.py $(ARGS)
	$(BIN)/python benchmarks/chaos_run.py --rounds $(ROUNDS)

faults: $(STAMP) ## cut the connection at every single point, and move 100,000 mangled payloads: nothing lost, doubled, changed
	$(BIN)/python benchmarks/faults.py $(ARGS)

fuzz: $(STAMP) ## run the rewrites over other people's code with legacy names put into it
	$(BIN)/python benchmarks/rewrite_fuzz.py $(ARGS)

mutation: $(STAMP) ## break the unified tasks in small ways: the parity check must see it
	$(BIN)/python benchmarks/parity_mutation.py $(ARGS)

alarms: $(STAMP) ## run the parity check 50 times on unchanged code: none may raise an alarm
	$(BIN)/python benchmarks/parity_alarms.py $(ARGS)

docs: $(STAMP) ## fill RUNBOOK.md with what the commands print, and check that the documents name everything
	$(BIN)/python benchmarks/runbook.py
	$(BIN)/python -m pytest tests/test_docs.py

check: lint types test ## everything that has to pass before a commit is done

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist
