# Everything a user types. STUDY names a file of params/ without its ending.
# PROFILE, such as profiles/slurm, sends the jobs to a cluster. Small runs may share a GPU: RUNS_PER_GPU=2.
# --nolock: a killed Snakemake leaves its lock behind; each run folder has a lock that dies with its process.
# USE names an alternative set of triples of the study, ONLY one of its triples; REHEARSE=1 runs all its steps at a
# size of seconds.
STUDY  ?= quick
USE    ?=
ONLY   ?=
REHEARSE ?=
SHAPE   = $(if $(USE),--use $(USE)) $(if $(ONLY),--only $(ONLY)) $(if $(REHEARSE),--rehearse)
PYTHON ?= python3
CORES  ?= all
SIZE   ?= 224
THREADS ?= 2
TESTS  ?=
GPUS   ?= $(shell nvidia-smi -L 2>/dev/null | wc -l)
RUNS_PER_GPU ?= 1
PROFILE ?=
export GPUS RUNS_PER_GPU
WHERE   = $(if $(PROFILE),--profile $(PROFILE),--cores $(CORES) --resources gpu=$$(($(GPUS) * $(RUNS_PER_GPU))))
BIN    := .venv/bin
SHELL  := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help setup data study search test check lab book bench peers speed clean lock schema

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 14

setup: .venv/.ready
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; found $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

data study lab speed search: export P2P_DATA ?= $(CURDIR)/data
data: setup ## photographs: download CUB, check CUB and Cars in P2P_DATA (default ./data), decode them (SIZE=224)
	@$(BIN)/python -m p2p.data.download $(SETS) --root "$(P2P_DATA)" $(if $(SIZE),--size $(SIZE)) $(if $(URL),--url "$(URL)")

study: setup ## train, measure and picture a study (STUDY=quick), then build the book
	@$(BIN)/python notebooks/execute.py --check params/$(STUDY).yaml --prepare $(SHAPE) $(if $(PROFILE),--elsewhere)
	@$(BIN)/snakemake $(WHERE) --config study=$(STUDY) use=$(USE) only=$(ONLY) rehearse=$(REHEARSE) \
		--nolock --rerun-incomplete --quiet host progress
	@$(BIN)/python notebooks/execute.py --summary params/$(STUDY).yaml $(SHAPE)

search: setup ## try recipes for a study on validation images alone: the trials of params/search/STUDY.yaml
	@$(BIN)/python -m p2p.evaluation.search $(STUDY)

test: export OMP_NUM_THREADS ?= 1
test: setup ## the whole test suite, a test file a core (TESTS="-m numeric" or any other words for pytest)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(TESTS)

check: setup ## lint, format, types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lab: export JUPYTER_CONFIG_DIR := $(CURDIR)/.venv/etc/lab
lab: setup ## JupyterLab; the .py files of notebooks/ open as notebooks and save back
	@$(BIN)/jupytext-config set-default-viewer python > /dev/null
	$(BIN)/jupyter lab --notebook-dir=. --ServerApp.contents_manager_class=jupytext.TextFileContentsManager

book: setup ## the book alone, from the results that are there
	$(BIN)/python book/build.py --strict

peers: .venv/.peers
.venv/.peers: benchmarks/requirements.txt .venv/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

bench: peers ## time ratios to CaBRNet and the classic formulation, in minutes, beside the recorded ones
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks

speed: peers ## the pages on speed, measured in full (about 20 minutes; a quiet machine, THREADS=2)
	@for page in $(basename $(notdir $(wildcard notebooks/09_*.py notebooks/10_*.py notebooks/11_*.py))); do \
		$(BIN)/python notebooks/execute.py notebooks/$$page.py results/speed/$$page.ipynb --threads $(THREADS) || exit 1; \
	done

lock: setup ## renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate -q -o requirements.lock

schema: setup ## renew the JSON schema that editors complete study files with
	$(BIN)/python notebooks/execute.py --schema > params/study.schema.json

clean: ## remove what can be made again: runs, built book, environment (results stay)
	rm -rf runs book/_build .snakemake .venv build *.egg-info
