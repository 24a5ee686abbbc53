# Everything a user types. STUDY names a file of params/ without its ending.
# PROFILE, such as profiles/slurm, sends the jobs to a cluster. Small runs may share a GPU: RUNS_PER_GPU=2.
# notebooks/run.py shows what Snakemake does. It gives it --nolock: a killed Snakemake leaves its lock behind, while that
# of each run folder dies with its process.
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
RUN    ?=
IMAGE  ?=
OUT    ?=
SHARE  ?=
ROLES  ?=
IMAGES ?=
NAME    = mine
# A path is taken as it was typed, whatever signs are in it: to make and to the shell, `$` and `"` mean something.
override IMAGES := $(value IMAGES)
override IMAGE := $(value IMAGE)
override RUN := $(value RUN)
override OUT := $(value OUT)
export IMAGES IMAGE RUN OUT NAME SHARE
GPUS   ?= $(shell nvidia-smi -L 2>/dev/null | wc -l)
RUNS_PER_GPU ?= 1
PROFILE ?=
export GPUS RUNS_PER_GPU
WHERE   = $(if $(PROFILE),--profile $(PROFILE),--cores $(CORES) --resources gpu=$$(($(GPUS) * $(RUNS_PER_GPU))))
BIN    := .venv/bin
SHELL  := /bin/bash
TORCH_INDEX ?=
UV     := uv>=0.9,<1
# Where Python is told to keep no bytecode, as in many containers, each process would compile PyTorch anew.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
PIP     = $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup data study own search judge explain share pack explorer export test check lab book pdf bench peers speed clean lock schema

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: .venv/.ready
# uv installs the same lock in less time than pip; where it cannot be had, or does not reach what pip does, pip does it.
# TORCH_INDEX is an index of PyTorch's own builds; NVIDIA's libraries are then left out. All else comes from the lock.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; found $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 1; }
	@echo "Setting up .venv with PyTorch $(if $(TORCH_INDEX),of $(TORCH_INDEX),(5 GB; for CPUs alone 1 GB with TORCH_INDEX=https://download.pytorch.org/whl/cpu))"
	@$(PYTHON) -m venv .venv
	@$(PIP) install '$(UV)' 2> .venv/uv.txt || true
	@set -e; lock=requirements.lock; \
	install() { $(BIN)/uv pip install $(COMPILE) --quiet --no-deps --python $(BIN)/python "$$@" 2>> .venv/uv.txt || $(PIP) install --no-deps "$$@"; }; \
	if [ -n "$(TORCH_INDEX)" ]; then \
		lock=.venv/cpu.lock; \
		grep -vE '^(nvidia-|cuda-|triton=|torch=|torchvision=)' requirements.lock > $$lock; \
		install --index-url "$(TORCH_INDEX)" $$(sed -nE 's/^((torch|torchvision)==[^ ;]+).*/\1/p' requirements.lock); \
	fi; \
	install -r $$lock; \
	install -e .
	@touch $@

data study lab speed search explain share pack export: export P2P_DATA ?= $(CURDIR)/data
data: setup ## photographs: download CUB, check CUB and Cars in P2P_DATA (./data), decode them (SIZE=224)
	@$(BIN)/python -m p2p.data.download $(SETS) --root "$(P2P_DATA)" $(if $(SIZE),--size $(SIZE)) $(if $(URL),--url "$(URL)")

study: setup ## train, measure and picture a study (STUDY=quick), then build the book
	@$(BIN)/python notebooks/execute.py --check "params/$(STUDY).yaml" --prepare $(SHAPE) $(if $(PROFILE),--elsewhere)
	@$(BIN)/python notebooks/run.py "params/$(STUDY).yaml" $(SHAPE) -- $(WHERE)

own: setup ## your own images, a folder for each class, to a page: IMAGES=/path/to/folder (NAME=mine)
	@$(BIN)/python notebooks/own.py "$$IMAGES" "$$NAME" -- $(WHERE)

explain: setup ## why a network decides as it does: RUN=runs/quick/… IMAGE=photo.jpg (or a folder; OUT=…)
	@$(BIN)/python -m p2p.figures.explain "$$RUN" "$$IMAGE" $(if $(OUT),--out "$$OUT")

share: setup ## a trained network with fewer prototypes, those that agree merged: RUN=… SHARE=40 (percent; OUT=…)
	@$(BIN)/python -m p2p.evaluation.share "$$RUN" "$$SHARE" $(if $(OUT),--out "$$OUT")

pack: setup ## a study's trained networks, small, with a card, into networks/ (STUDY=birds, ROLES=…)
	@$(BIN)/python -m p2p.evaluation.pack "params/$(STUDY).yaml" $(ROLES) $(SHAPE)

explorer: setup ## what the explorer shows of packed networks, into results/ (STUDY=birds); make study makes it by itself
	@many=$$(sed -n 's/^explorer_images: *\([0-9]*\).*/\1/p' "params/$(STUDY).yaml"); \
	$(BIN)/python notebooks/execute.py notebooks/14_explorer.py results/$(STUDY)/14_explorer.ipynb --parameters \
		'{"study": "$(STUDY)", "runs": "networks", "networks": {}, "explorer": true, "explorer_images": '"$${many:-800}"'}'

export: setup ## a trained network as ONNX and torch.export: RUN=networks/birds/… (OUT=…)
	@$(BIN)/python -m p2p.evaluation.export "$$RUN" $(if $(OUT),--out "$$OUT")

search: setup ## try recipes on validation images alone: the trials of params/search/STUDY.yaml
	@$(BIN)/python -m p2p.evaluation.search "$(STUDY)"

judge: setup ## what known damage does to each metric, from the answers kept with the results
	@$(BIN)/python -m p2p.evaluation.judge

test: export OMP_NUM_THREADS ?= 1
test: setup ## the whole test suite, a file a core (TESTS="-m numeric" or other words for pytest)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(TESTS)

check: setup ## lint, format, types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lab: export JUPYTER_CONFIG_DIR := $(CURDIR)/.venv/etc/lab
lab: setup ## JupyterLab; the .py files of notebooks/ open as notebooks and save back
	@$(BIN)/jupytext-config set-default-viewer python > /dev/null
	$(BIN)/jupyter lab --notebook-dir=. --ServerApp.contents_manager_class=jupytext.TextFileContentsManager

pdf: setup ## the main pages of the drawn book as a PDF, book/_build/proto2proto.pdf (needs Chromium)
	$(BIN)/python book/pdf.py

book: setup ## the book alone, from the results that are there
	$(BIN)/python book/build.py --strict

peers: .venv/.peers
.venv/.peers: benchmarks/requirements.txt .venv/.ready
	$(PIP) install --no-deps -r $<
	@touch $@

bench: peers ## time ratios to CaBRNet and the classic formulation, beside the recorded ones (minutes)
	@OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m benchmarks

speed: peers ## the pages on speed, measured in full (20 minutes, a quiet machine; THREADS=2)
	@for page in $(basename $(notdir $(wildcard notebooks/09_*.py notebooks/10_*.py notebooks/11_*.py))); do \
		$(BIN)/python notebooks/execute.py notebooks/$$page.py results/speed/$$page.ipynb --threads $(THREADS) || exit 1; \
	done

lock: setup ## renew requirements.lock
	$(PIP) install '$(UV)'
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate -q -o requirements.lock

schema: setup ## renew the JSON schema that editors complete study files with
	$(BIN)/python notebooks/execute.py --schema > params/study.schema.json

clean: ## remove what can be made again: runs, built book, environment (results stay)
	rm -rf runs book/_build .snakemake .venv build *.egg-info
