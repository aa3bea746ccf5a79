# make demo    train a healthy and an ill run, shown live in TensorBoard (PORT=6006); Ctrl-C ends it
# make test    every check and test
# make lint    the quick checks alone
# make oldest  tests of the plugin with the oldest versions of what it needs, without torch
# make format  let ruff put the code in order
# make docs    the documents, the API reference and the gallery as a web site: build/docs/index.html
# make lock    write down anew what CI installs: .ci/python.lock and package-lock.json
# make clean   remove what make made here; runs and data stay
#
# All of them install what they need into one virtual environment (VENV=.venv, made with
# PYTHON=python3). What is installed already is not installed again.

VENV ?= .venv
PYTHON ?= python3
PORT ?= 6006

BIN := $(VENV)/bin
OLDEST := $(VENV)/oldest
KERNEL := $(addprefix callback/native/,kernel.c kernel.h body.inc widening.inc)
MADE_FROM := setup.py pyproject.toml tests/requirements.txt .ci/python.lock $(KERNEL)
TESTS_WITHOUT_TORCH := assets comparison diagnose event_data every_rule explain format_document http \
  http_api_document loader losses parting records run_data run_listing series_cache settings store \
  tensorboard thinning views
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# CI installs what was tested last; everybody else what setup.py allows.
CONSTRAINT := $(if $(CI),-c .ci/python.lock)

.PHONY: demo test lint oldest format javascript docs lock clean

demo: $(VENV)/.examples-installed
	rm -rf runs/demo
	$(BIN)/python examples/train_cnn.py --log-dir runs/demo --lr 1e-3 1e-1 --tensorboard --port $(PORT)

# What is quick comes first.
test: lint javascript oldest $(VENV)/.browser-installed
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.test-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(foreach name,$(TESTS_WITHOUT_TORCH),$(wildcard tests/*/test_$(name).py)) \
	  tests/diagnosis/rules tests/plugin/schema

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

javascript: node_modules/.installed
	npm run --silent check
	npm run --silent test

docs: $(VENV)/.test-installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html -c docs/site . build/docs

lock:
	rm -rf $(VENV) node_modules package-lock.json
	$(MAKE) CI= $(VENV)/.test-installed
	echo '# What CI installs, by pip. Renewed by `make lock`; setup.py has the bounds for users.' \
	  > .ci/python.lock
	$(BIN)/python -m pip list --format=freeze --exclude-editable | grep -v '^pip==' >> .ci/python.lock
	npm install --package-lock-only --no-audit --no-fund

clean:
	rm -rf .venv node_modules build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what is installed ------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is \
	needed and $(PYTHON) is %d.%d; name another: make PYTHON=python3.12" % sys.version_info[:2])'
	.ci/install_tools venv $(PYTHON)
	.ci/install_tools compiler $(PYTHON)
	$(PYTHON) -m venv $(VENV)

# torch and torchvision come together, as pip resolves them: torchvision only imports with the torch
# build it was compiled for.
$(VENV)/.examples-installed: $(MADE_FROM) | $(BIN)/python
	@echo "Installing torch, TensorBoard and the rest into $(VENV): about 6 GB on Linux"
	$(BIN)/python -m pip install $(CONSTRAINT) -e '.[examples]'
	@touch $@

$(VENV)/.test-installed: $(MADE_FROM) | $(BIN)/python
	$(BIN)/python -m pip install $(CONSTRAINT) -r tests/requirements.txt \
	  -e '.[examples,accelerate,lightning,transformers]'
	@touch $@ $(VENV)/.examples-installed

$(OLDEST)/.installed: tests/oldest_versions.txt $(MADE_FROM) | $(BIN)/python
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet -r tests/oldest_versions.txt -e .
	@touch $@

$(VENV)/.browser-installed: .ci/install_tools | $(VENV)/.test-installed
	.ci/install_tools browser $(VENV)
	@touch $@

node_modules/.installed: package.json package-lock.json
	.ci/install_tools node
	npm ci --no-audit --no-fund
	@touch $@
