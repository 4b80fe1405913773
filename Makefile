VENV ?= .venv
PORT ?= 8000
HOST ?= 127.0.0.1
PYTHON ?= python3
# Package index for torch and torchvision, such as https://download.pytorch.org/whl/cpu; empty: pip's own index.
TORCH_INDEX ?=
BIN := $(VENV)/bin

.PHONY: help serve install dev check test test-docker bench bench-gpu bench-samplers docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

serve: $(VENV)/.installed  ## Run Redis, a worker and the app on this machine until Ctrl-C
	@exec $(BIN)/noisemill serve --host $(HOST) --port $(PORT)

install: $(VENV)/.installed  ## Create the virtual environment for serving and training

dev: $(VENV)/.dev  ## Add the development tools to it

check: $(VENV)/.dev  ## Run the checks that need no service: style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_layers.py

test: $(VENV)/.dev  ## Run all tests, with a real Redis, workers, HTTP and browser
	$(BIN)/pytest

test-docker: $(VENV)/.dev  ## Test the containers; needs a Docker engine
	$(BIN)/pytest -m docker tests/docker

bench: $(VENV)/.dev  ## Measure speed into docs/performance.md: 40 minutes; DATA=PATH is the folder of data sets
	for what in forward scaling start sharing forecast http_overhead clients throughput redis_memory; do $(BIN)/python -m bench.$$what || exit 1; done
	for what in quality train contention; do $(BIN)/python -m bench.$$what $(if $(DATA),--data-root $(DATA)) || exit 1; done

bench-gpu: bench  ## The same on a GPU

bench-samplers: $(VENV)/.dev  ## Measure distance by sampler and steps into docs/samplers.md: 30 minutes
	for model in mnist fashion-mnist digits; do $(BIN)/python -m bench.samplers checkpoints/$$model $(if $(DATA),--data-root $(DATA)) || exit 1; done

docs: $(VENV)/.dev  ## Write the tables of docs/settings.md from the code
	$(BIN)/python -m docs.settings

clean:  ## Remove the virtual environment and caches; models, runs and jobs stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a few minutes, and about 5 GB with CUDA (see TORCH_INDEX in README.md)"
	@test -z "$(TORCH_INDEX)" || $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --no-deps --index-url $(TORCH_INDEX) torch torchvision
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
