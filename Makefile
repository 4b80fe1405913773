VENV ?= .venv
PORT ?= 8000
HOST ?= 127.0.0.1
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: help serve install dev check test test-docker bench bench-gpu bench-samplers clean

help:  ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

serve: $(VENV)/.installed  ## Redis, a worker and the app on this machine, until Ctrl-C
	@exec $(BIN)/noisemill serve --host $(HOST) --port $(PORT)

install: $(VENV)/.installed  ## The virtual environment with all that serving and training need

dev: $(VENV)/.dev  ## The same with development tools

check: $(VENV)/.dev  ## What needs no running parts: style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_layers.py

test: $(VENV)/.dev  ## The whole suite, with real Redis, workers, HTTP and browser
	$(BIN)/pytest

test-docker: $(VENV)/.dev  ## The containers, where a Docker engine runs
	$(BIN)/pytest -m docker tests/docker

bench: $(VENV)/.dev  ## Speed beside the usual way, into docs/performance.md: 40 minutes; DATA=PATH names the folder of data sets
	for what in forward growth start sharing face clients throughput; do $(BIN)/python -m bench.$$what || exit 1; done
	for what in quality train contention; do $(BIN)/python -m bench.$$what $(if $(DATA),--data-root $(DATA)) || exit 1; done

bench-gpu: bench  ## The same: a GPU is used where there is one

bench-samplers: $(VENV)/.dev  ## Distance by sampler and steps, into docs/samplers.md: half an hour
	for model in mnist fashion-mnist digits; do $(BIN)/python -m bench.samplers checkpoints/$$model $(if $(DATA),--data-root $(DATA)) || exit 1; done

clean:  ## Removes the virtual environment and caches; models, runs and jobs stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 5 GB and a few minutes the first time"
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
