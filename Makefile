# make report    set up .venv and run every report notebook (bundled photographs, shipped checkpoint); prints the pages
# make test      set up what tests need and run the fast full suite; make test-all adds the long tests
# make gallery   run the reports and the lessons and keep executed copies in reports/gallery
# make lab       open the notebooks in JupyterLab
# make app       serve the explorers as a page without code
# make lint      ruff, and import-linter for the layers of the package
# make clean     remove .venv
#
# PYTHON=python3.12            another Python (3.11 or later); remembered until make clean
# TORCH=2.12.0 or TORCH=URL    another version of torch, or the package index to take it from; remembered too
# REPORT_ARGS="-p images 2"    options of `slerlib report`; likewise TEST_ARGS of pytest, LAB_ARGS of JupyterLab, APP_ARGS of Voila

-include .venv.choice
PYTHON ?= python3
TORCH ?=
REPORT_ARGS ?=
TEST_ARGS ?=
LAB_ARGS ?=
APP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INPUTS := pyproject.toml constraints.txt

# .venv.choice keeps PYTHON and TORCH of the environment; with other values it is made anew.
CHOICE := PYTHON ?= $(PYTHON) TORCH ?= $(TORCH)
ifneq ($(strip $(CHOICE)),$(strip $(shell cat .venv.choice 2>/dev/null)))
$(VENV)/.made: FORCE
endif

# With TORCH the pins of what torch brings along give way, and with a version that of torch itself.
TORCH_IS_INDEX := $(findstring /,$(TORCH))
UNPINNED := /^nvidia-/d;/^cuda-/d;/^triton==/d;/^setuptools==/d$(if $(TORCH_IS_INDEX),,;/^torch==/d)
CONSTRAINTS := $(if $(TORCH),$(VENV)/constraints.txt,constraints.txt)

.PHONY: report gallery test test-all lab app lint clean help FORCE

report: $(VENV)/.installed
	$(BIN)/python -m slerlib report all $(REPORT_ARGS)

gallery: $(VENV)/.installed-dev
	$(BIN)/python reports/make_gallery.py

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(TEST_ARGS)

test-all: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "" $(TEST_ARGS)

lab: $(VENV)/.installed
	$(BIN)/python -m jupyterlab --ServerApp.preferred_dir=notebooks $(LAB_ARGS)

app: $(VENV)/.installed-app
	JUPYTER_PATH=slerlib/widgets/share $(BIN)/python -m voila notebooks/app.ipynb --template=slerlib $(APP_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .venv.choice

help:
	@sed -n 's/^# //p' Makefile | head -10

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "slerlib needs Python 3.11 or later;" \
		"$(PYTHON) is older or missing. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@printf '%s\n' 'PYTHON ?= $(PYTHON)' 'TORCH ?= $(TORCH)' > .venv.choice
	@touch $@

$(VENV)/.torch: $(VENV)/.made $(INPUTS)
	@echo "Installing into $(VENV); this takes a minute or more ..."
ifneq ($(TORCH),)
	sed '$(UNPINNED)' constraints.txt > $(CONSTRAINTS)
	$(PIP) $(if $(TORCH_IS_INDEX),torch --extra-index-url $(TORCH),torch==$(TORCH)) -c $(CONSTRAINTS)
endif
	@touch $@

$(VENV)/.installed: $(VENV)/.torch
	$(PIP) -e . -c $(CONSTRAINTS)
	@touch $@

$(VENV)/.installed-app: $(VENV)/.installed
	$(PIP) -e ".[app]" -c $(CONSTRAINTS)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e ".[dev]" -c $(CONSTRAINTS)
	@touch $@
