# make install     .venv with the command embedtrain and the bundled model
# make demo        the whole pipeline on data_samples/ with the bundled model
# make test        lint, types, tests
# make notebooks   the notebooks in examples/ on small settings
# make browser     Chromium from Debian's packages, where there is no browser: some tests look at the pages in one
# make test-gpu    the tests that need a CUDA device
# make docs        the documentation as a site in site/, strictly: a link that leads nowhere fails
# make lock        pin what is installed now
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS_VENV := .venv-docs
DOCS_BIN := $(DOCS_VENV)/bin
DEMO := runs/demo
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install demo demo-zh test notebooks test-gpu lint types docs lock clean

install: $(VENV)/.installed
	@echo "next: source $(BIN)/activate, then embedtrain doctor"

demo: $(VENV)/.installed
	$(BIN)/embedtrain augsbert --config data_samples/demo_en.yaml --output $(DEMO)

demo-zh: $(VENV)/.installed
	$(BIN)/embedtrain augsbert --config data_samples/demo_zh.yaml --output $(DEMO)-zh

test: lint types
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist loadfile

notebooks: $(VENV)/.installed-dev
	$(BIN)/pytest tests/test_notebooks.py

# Without one the tests that need it are skipped; they say so.
browser:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable \
	  || { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install --yes -qq --no-install-recommends chromium; }

test-gpu: $(VENV)/.installed-dev
	$(BIN)/pytest -m gpu

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

docs: $(DOCS_VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build --strict
	@echo "open site/index.html"

# The stamp appears only when everything is installed, so an interrupted installation is taken up again.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.lock
	touch $@

# The reference is read from the sources, so that the site needs nothing of what the package needs.
$(DOCS_VENV)/.installed: requirements-docs.lock
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_BIN)/python -m pip install --quiet --requirement requirements-docs.lock
	touch $@

lock: $(VENV)/.installed-dev $(DOCS_VENV)/.installed
	$(BIN)/python scripts/lock.py
	$(DOCS_BIN)/python scripts/lock.py docs

clean:
	rm -rf $(VENV) $(DOCS_VENV) site build *.egg-info .pytest_cache .mypy_cache .ruff_cache
