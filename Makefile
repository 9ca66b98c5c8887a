# lensnb: `make demo` shows the main job on a real picture, `make test` runs every check. Both make .venv first.
PYTHON ?= python3
BIN    := .venv/bin
META   := settings.ini setup.py pyproject.toml

.PHONY: help install demo test docs lint export clean-outputs wheel jupyter
help:
	@echo "make install  make .venv and install lensnb into it: some minutes, several GB"
	@echo "make demo     simulate, train, test, and find painted lenses in a Hubble picture -> demo/index.html"
	@echo "make test     install what is needed and run every check"
	@echo "make docs     render the documentation to _docs/"
	@echo "make export   write lensnb/ from the notebooks, and strip what does not belong in git"
	@echo "make lint     ruff over scripts and tests"
	@echo "make wheel    build dist/*.whl"
	@echo "make jupyter  open the notebooks"

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3,11))' || { echo "lensnb needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

.venv/.installed: .venv/.python $(META)
	@echo "Installing lensnb and what it needs into .venv (several GB, some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/.dev: .venv/.installed
	@echo "Installing what tests and documentation need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: .venv/.installed
	@echo "lensnb is installed. In this terminal, say: . $(BIN)/activate"

demo: .venv/.installed
	$(BIN)/python benchmarks/demo.py

test: .venv/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

docs: .venv/.dev
	$(BIN)/python tests/render_docs.py

lint: .venv/.dev
	$(BIN)/ruff check setup.py tests benchmarks

export: .venv/.dev
	$(BIN)/nbdev-export && $(BIN)/nbdev-clean

wheel: .venv/.dev
	$(BIN)/python -m build --wheel

jupyter: .venv/.dev
	$(BIN)/jupyter lab nbs
