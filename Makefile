# The two commands are `make demo` and `make test`; everything else serves them. No root, no Docker, no network
# beyond the package registries. Every set-up step leaves a stamp, so a second run starts at once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
KERNEL_VENV := .venv-kernel
BIN := $(VENV)/bin
STAMPS := .stamps
PIP := -m pip --quiet --disable-pip-version-check
PROXY := hub_config/proxy
LAB := extensions/enclave-lab
DEMO_OPTIONS := $(if $(PORT),--port $(PORT))
.NOTPARALLEL:

.PHONY: help setup setup-test demo test test-slow lint types contracts docs docs-check registry-check ci clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(STAMPS)/python $(STAMPS)/kernel $(STAMPS)/proxy $(STAMPS)/lab ## Make .venv, .venv-kernel, the proxy and the lab extension

setup-test: setup $(STAMPS)/dev $(if $(ENCLAVE_REQUIRE_ALL),$(STAMPS)/dask)

demo: setup ## Start the enclave with a synthetic cohort (CHECK=1: run the whole story headless; PORT=N)
	@if [ -n "$(CHECK)" ]; then exec $(BIN)/enclave demo check $(DEMO_OPTIONS); fi
	exec $(BIN)/enclave demo start $(DEMO_OPTIONS)

test: setup-test ## All tests but the slow ones
	@$(BIN)/python -m pytest -m "not slow" $(PYTEST_OPTIONS)

test-slow: setup-test ## The tests marked slow
	@$(BIN)/python -m pytest -m slow --timeout 600 $(PYTEST_OPTIONS)

lint: setup-test ## Format check and lint
	@$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-test ## mypy --strict on enclave and enclave_kernel
	@$(BIN)/mypy

contracts: setup-test ## Import contracts: layers, protected and pure modules
	@$(BIN)/lint-imports

docs: setup ## Write the generated pages of docs/
	@$(BIN)/python -m enclave.cli.docs

docs-check: setup ## Are the generated pages up to date?
	@$(BIN)/python -m enclave.cli.docs --check

registry-check: ## No registry host in any tracked file
	@.ci/registry-check

ci: setup-test lint types contracts docs-check registry-check test test-slow ## The gate: all of the above

clean: ## Remove environments and stamps, never an enclave home
	@rm -rf $(VENV) $(KERNEL_VENV) $(STAMPS) $(PROXY)/node_modules $(LAB)/node_modules $(LAB)/enclave_lab/labextension build dist

# ── set-up steps ────────────────────────────────────────────────────────────

$(STAMPS)/python-found:
	@.ci/python-check "$(PYTHON)"
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/venv: | $(STAMPS)/python-found
	@echo "setup: making $(VENV)" >&2
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	touch $@

$(STAMPS)/host: requirements/host.txt $(STAMPS)/venv
	@echo "setup: installing the pinned packages of the trusted side" >&2
	$(BIN)/python $(PIP) install --require-hashes -r requirements/host.txt
	touch $@

$(STAMPS)/python: pyproject.toml kernels/pyproject.toml $(STAMPS)/host
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation -e ./kernels -e .
	touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/host
	@echo "setup: installing what the tests need" >&2
	$(BIN)/python $(PIP) install --require-hashes -r requirements/dev.txt
	touch $@

$(STAMPS)/dask: requirements/dask.txt $(STAMPS)/host
	@echo "setup: installing the extra dask" >&2
	$(BIN)/python $(PIP) install --require-hashes -r requirements/dask.txt
	touch $@

$(STAMPS)/kernel-packages: requirements/kernel.txt | $(STAMPS)/python-found
	@echo "setup: making $(KERNEL_VENV), what stands inside the sandbox" >&2
	[ -x $(KERNEL_VENV)/bin/python ] || $(PYTHON) -m venv $(KERNEL_VENV)
	$(KERNEL_VENV)/bin/python $(PIP) install --require-hashes -r requirements/kernel.txt
	touch $@

KERNEL_SOURCES := $(shell find kernels -name '*.py' -not -path '*/build/*' 2>/dev/null)
$(STAMPS)/kernel: $(STAMPS)/python $(STAMPS)/kernel-packages kernels/pyproject.toml $(KERNEL_SOURCES)
	@wheels=$$(mktemp -d) && trap 'rm -rf "$$wheels"' EXIT
	$(BIN)/python $(PIP) wheel --no-deps --no-build-isolation --wheel-dir "$$wheels" ./kernels
	$(KERNEL_VENV)/bin/python $(PIP) install --no-deps --no-index --force-reinstall "$$wheels"/*.whl
	touch $@

$(STAMPS)/proxy: $(PROXY)/package.json $(PROXY)/package-lock.json $(STAMPS)/host
	@echo "setup: installing the HTTP proxy" >&2
	.ci/npm $(PROXY) ci --no-audit --no-fund --loglevel=error >&2
	touch $@

LAB_SOURCES := $(shell find $(LAB)/src $(LAB)/style -type f 2>/dev/null)
$(STAMPS)/lab-packages: $(LAB)/package.json $(LAB)/package-lock.json $(STAMPS)/host
	@echo "setup: installing what builds the JupyterLab extension" >&2
	.ci/npm $(LAB) ci --no-audit --no-fund --loglevel=error >&2
	touch $@

$(STAMPS)/lab: $(LAB)/pyproject.toml $(LAB)/enclave_lab/__init__.py $(LAB_SOURCES) $(STAMPS)/lab-packages
	@echo "setup: building the JupyterLab extension" >&2
	rm -rf $(LAB)/enclave_lab/labextension
	.ci/npm $(LAB) run --silent build >&2
	wheels=$$(mktemp -d) && trap 'rm -rf "$$wheels"' EXIT
	$(BIN)/python $(PIP) wheel --no-deps --no-build-isolation --wheel-dir "$$wheels" ./$(LAB)
	$(BIN)/python $(PIP) install --no-deps --no-index --force-reinstall "$$wheels"/*.whl
	touch $@
