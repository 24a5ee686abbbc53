# Everything a user types. STUDY names a file of params/ without its ending.
# --nolock: a killed Snakemake leaves its lock behind; each run folder has a lock that dies with its process.
STUDY  ?= quick
PYTHON ?= python3
CORES  ?= all
GPUS   ?= $(shell nvidia-smi -L 2>/dev/null | wc -l)
BIN    := .venv/bin
SHELL  := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help setup study test check lab book clean lock schema

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 14

setup: .venv/.ready
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; found $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

study: setup ## train, measure and picture a study (STUDY=quick), then build the book
	@$(BIN)/python notebooks/execute.py --check params/$(STUDY).yaml
	@$(BIN)/snakemake --cores $(CORES) --resources gpu=$(GPUS) --config study=$(STUDY) \
		--nolock --rerun-incomplete --quiet host progress
	@$(BIN)/python notebooks/execute.py --summary params/$(STUDY).yaml

test: setup ## the whole test suite
	$(BIN)/python -m pytest

check: setup ## lint, format, types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lab: export JUPYTER_CONFIG_DIR := $(CURDIR)/.venv/etc/lab
lab: setup ## JupyterLab; the .py files of notebooks/ open as notebooks and save back
	@$(BIN)/jupytext-config set-default-viewer python > /dev/null
	$(BIN)/jupyter lab --notebook-dir=. --ServerApp.contents_manager_class=jupytext.TextFileContentsManager

book: setup ## the book alone, from the results that are there
	$(BIN)/python book/build.py --strict

lock: setup ## renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate -q -o requirements.lock

schema: setup ## renew the JSON schema that editors complete study files with
	$(BIN)/python -m p2p.study > params/study.schema.json

clean: ## remove what can be made again: runs, built book, environment (results stay)
	rm -rf runs book/_build .snakemake .venv build *.egg-info
