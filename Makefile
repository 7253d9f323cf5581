# make demo        the whole pipeline on data_samples/ with the bundled model
# make test        lint, types, tests
# make test-gpu    the tests that need a CUDA device
# make lock        pin what is installed now
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo demo-zh test test-gpu lint types lock clean

demo: $(VENV)/.installed
	$(BIN)/embedtrain augsbert --config data_samples/demo_en.yaml --output $(DEMO)

demo-zh: $(VENV)/.installed
	$(BIN)/embedtrain augsbert --config data_samples/demo_zh.yaml --output $(DEMO)-zh

test: lint types
	$(BIN)/pytest

test-gpu: $(VENV)/.installed-dev
	$(BIN)/pytest -m gpu

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# The stamp appears only when everything is installed, so an interrupted installation is taken up again.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	touch $@

lock: $(VENV)/.installed-dev
	$(BIN)/python scripts/lock.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
