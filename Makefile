# make sample   set up, segment the sample scan and print where the results are
# make test     set up, check style and types, run the tests
# make docs     set up, build the documentation into site/, with warnings as errors
# make bench    set up, measure speed and memory on this machine and write Testing/benchmarks/results/speed.md
#
# They need only make and Python 3.10 or later, and install everything into the virtual environment .venv.
# Variables: PYTHON (the Python that creates the environment), VENV (its folder), JOBS (test processes),
#            PEERS (Python of the environment of the compared programs; empty: only ASA),
#            TORCH_INDEX (additional package index for PyTorch; empty: only PyPI, which on Linux has the CUDA build).

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# Code from elsewhere must not shadow what is tested here.
unexport PYTHONPATH PYTHONHOME

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
SAMPLE ?= sample
# On Linux PyPI's PyTorch brings several gigabytes of CUDA; PyTorch's own index has the CPU build of the same release.
ifeq ($(shell uname -s),Linux)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --constraint constraints.txt

.PHONY: help sample test lint docs bench clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

sample: $(VENV)/.sample
	@$(BIN)/python Resources/Scripts/sample_image.py $(SAMPLE)/mni152_t1.nii.gz
	@$(BIN)/asa segment $(SAMPLE)/mni152_t1.nii.gz -o $(SAMPLE)/result --task tissue

test: $(VENV)/.test lint
	@sh Testing/system_libraries.sh
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean

bench: $(VENV)/.test
	@$(BIN)/python -m Testing.benchmarks.speed $(if $(PEERS),--peers $(PEERS))

clean:
	rm -rf $(VENV) $(SAMPLE) site .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

# A stamp stands for a finished step, so that an interrupted one is done again from its beginning.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed; choose one with: make PYTHON=python3.11")'
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

# PyTorch goes first and alone: pip then never weighs other releases of it, and seeks nothing else on its index (what it
# depends on follows with the next step).
$(VENV)/.torch: $(VENV)/.created constraints.txt
	@echo "Installing PyTorch"
	@$(PIP) --no-deps $(if $(TORCH_INDEX),--retries 1 --extra-index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.sample: $(VENV)/.torch pyproject.toml
	@echo "Installing asa"
	@$(PIP) --editable '.[slicer-core,sample]'
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	@echo "Installing asa and its tests' tools"
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.docs: $(VENV)/.torch pyproject.toml
	@echo "Installing asa and what builds its documentation"
	@$(PIP) --editable '.[docs]'
	@touch $@
