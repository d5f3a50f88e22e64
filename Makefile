# Each target alone sets up all it needs, given Python >= 3.11: a virtual environment, and glmkit installed in it at the
# versions of constraints.txt. PYTHON= chooses the interpreter a new environment is made from, VENV= where it lies.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PARITY_VENV := .venv-parity
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
PACKAGING := pyproject.toml constraints.txt hatch_build.py

# Tests and builds run on the CPU unless told otherwise, so that they give the same numbers everywhere.
test test-browser test-mesh soak parity smoke: export JAX_PLATFORMS ?= cpu

.PHONY: help demo nano test test-notebooks test-browser test-mesh soak parity smoke lint docs wheel notebooks clean chromium
.NOTPARALLEL: # two pips must not meet in one environment
.SECONDARY: # nor may make tidy an environment away

help:
	@echo "make demo          ask the bundled model a question and watch it think, then run the first notebook"
	@echo "make nano          train the bundled model anew: hours on two cores; TOKENS= SEED= OUT="
	@echo "make test          all tests but those below"
	@echo "make test-notebooks  all notebooks; make test runs the first"
	@echo "make test-browser  the notebooks in a real JupyterLab in Chromium"
	@echo "make test-mesh     the sharded model on 8 virtual devices"
	@echo "make soak          10,000 requests and one answer of 98,304 tokens: hours"
	@echo "make parity        live comparison with Hugging Face transformers (PyTorch, its own environment)"
	@echo "make smoke         a handful of quick tests; for other interpreters: PYTHON=python3.13 VENV=.venv-3.13"
	@echo "make lint          ruff, and the direction of imports"
	@echo "make docs          the documentation, into site/"
	@echo "make wheel         the wheel, into dist/"
	@echo "make notebooks     write each notebook's .ipynb from its .py"

demo: $(VENV)/.installed-base
	$(BIN)/glmkit chat "What is 27 + 58?" --model nano --thinking forced
	@echo
	$(BIN)/python notebooks/01_first_token.py
	@echo
	@echo 'Next: $(BIN)/glmkit chat "What is 345 + 678?" --model nano --thinking disabled'
	@echo '      or, for the notebooks: $(BIN)/pip install -c constraints.txt -e ".[notebook]" && $(BIN)/glmkit lab'

# Stopped, it goes on where it was when it is called again. Huge pages make a step faster on Linux.
nano: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
nano: $(VENV)/.installed-base
	$(BIN)/glmkit train nano $(if $(TOKENS),--tokens $(TOKENS)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

# A worker that crashes ends the run: pytest-xdist 3.8 may wait for ever for the one that replaces it.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --max-worker-restart=0 --dist=loadfile --durations=40 --nbmake tests notebooks/01_first_token.ipynb

test-notebooks: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=900 notebooks

test-browser: $(VENV)/.installed-browser chromium
	$(BIN)/python -m pytest tests/browser

test-mesh: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/mesh -m ""

soak: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/soak.py

parity: $(PARITY_VENV)/.installed
	$(PARITY_VENV)/bin/python -m pytest tests/parity

smoke: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m smoke --numprocesses=auto --maxprocesses=4 --max-worker-restart=0 --dist=loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel --no-isolation

notebooks: $(VENV)/.installed-dev
	$(BIN)/jupytext --to ipynb --update notebooks/*.py

clean:
	rm -rf .venv .venv-* build dist site

# A stamp per set of extras; it is renewed when what is installed may have changed.
$(VENV)/.installed-dev: EXTRAS := [dev]
$(VENV)/.installed-browser: EXTRAS := [dev,browser]
$(VENV)/.installed-docs: EXTRAS := [docs]
$(VENV)/.installed-%: $(PACKAGING) | $(BIN)/python
	@echo "Installing glmkit$(EXTRAS) in $(VENV): a few minutes the first time"
	@$(BIN)/python $(PIP_INSTALL) -e '.$(EXTRAS)'
	@touch $@

# PyTorch is installed first, and alone, so that no other package chooses its version or its build.
$(PARITY_VENV)/.installed: $(PACKAGING) | $(PARITY_VENV)/bin/python
	@echo "Installing glmkit[dev,parity] in $(PARITY_VENV): a few minutes the first time"
	@$(PARITY_VENV)/bin/pip install torch==2.13.0
	@$(PARITY_VENV)/bin/python $(PIP_INSTALL) -e '.[dev,parity]'
	@touch $@

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "glmkit needs Python 3.11 or newer, and $(PYTHON) is not; name one that is: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $* || { rm -rf $*; exit 1; }

# Debian's browser is used where it is, and installed where that needs no password.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq chromium >/dev/null; \
	else \
	  echo "these tests need Chromium: install your system's chromium package" >&2; exit 1; \
	fi
