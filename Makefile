# Every verb of the house. `make help` lists them; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

help: ## help: list the verbs
	@sed -n 's/^[a-z-]*: .*## \([a-z-]*\): \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@echo " • Making $(VENV) and installing podwire with its tools (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off --editable '.[dev]'
	@$(BIN)/python -m compileall -q podwire apiserver controllers kubelet kube_proxy coredns cni
	@touch $(STAMP)
	@echo " ✓ Installed"

setup: $(STAMP) ## setup: make .venv and install everything into it

demo: $(STAMP) ## demo: boot three nodes, apply the article, trace packets, run a chaos scenario
	@$(BIN)/python examples/demo.py

demo-compose: $(STAMP) ## demo-compose: the same tour against the services that compose runs with calico
	@$(BIN)/python examples/demo.py --kubeconfig .podwire/kubeconfig

# Four workers on two cores: those with a client's suite wait for their cluster most of the time.
test: $(STAMP) ## test: all tests that need neither root nor a container engine
	@$(BIN)/python -m pytest -n 4 --dist loadgroup tests --ignore tests/system

install-clients: $(STAMP) ## install-clients: kubectl, helm, client libraries and a client-go program into .venv-clients
	@$(BIN)/python tests/clients/install.py

clients: install-clients ## clients: hold podwire to every real client (make test skips those that are not installed)
	@PODWIRE_CLIENTS=required $(BIN)/python -m pytest -n 2 --dist loadgroup tests/clients

# One of two workers has compose's services, in the order of names, and mostly waits for them.
test-system: $(STAMP) ## test-system: tests that need root or a container engine
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/system

oracle: $(STAMP) ## oracle: SEEDS=500 random clusters in the model and in Linux namespaces (root); FIRST=1, MODE=, JOBS=
	@$(BIN)/python -m tests.oracle --seeds $(or $(SEEDS),500) --first $(or $(FIRST),1) $(addprefix --jobs ,$(JOBS)) $(addprefix --mode ,$(MODE))

real-kube-proxy: $(STAMP) ## real-kube-proxy: upstream's kube-proxy (built with Go, once) against our API server, rule by rule (root)
	@$(BIN)/python -m tests.oracle.realproxy $(or $(MODE),iptables)

lint: $(STAMP) ## lint: ruff, all rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## types: mypy --strict
	@$(BIN)/mypy podwire tests

arch: $(STAMP) ## arch: who may import whom
	@PYTHONPATH=. $(BIN)/lint-imports

bench: $(STAMP) ## bench: print the figures of docs/benchmarks.md
	@$(BIN)/python -m benchmarks

sweep: $(STAMP) ## sweep: many seeds of every scenario, full counts of property tests
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@PODWIRE_SWEEP=1 $(BIN)/python -m pytest -n 2 --dist loadgroup tests --ignore tests/system

goldens: $(STAMP) ## goldens: write the golden files anew (review the diff)
	@PODWIRE_REWRITE_GOLDENS=1 $(BIN)/python -m pytest -q tests -k golden

wheel: $(STAMP) ## wheel: build the wheel and the sdist into dist/
	@$(BIN)/python -m pip install --quiet build && $(BIN)/python -m build

clean: ## clean: remove what the verbs made
	@rm -rf $(VENV) .venv-clients dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help setup demo demo-compose test install-clients clients test-system oracle real-kube-proxy lint types arch bench sweep goldens wheel clean
