# `make` alone lists what there is. Every target sets up what it needs first: the first command typed after the clone may be any.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PYTHON LOCK

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort -u | awk -F ':.*## ' '{ printf "  make %-24s %s\n", $$1, $$2 }'

# ---- set-up -----------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(READY)  ## make .venv with the locked packages (PYTHON=... another interpreter, LOCK=... another lock)

$(READY): $(wildcard requirements/*.lock) requirements/setup.sh pyproject.toml
	requirements/setup.sh $(VENV)
	touch $@

.PHONY: clean
clean:  ## remove the virtual environment, caches and everything that targets made
	rm -rf $(VENV) build dist demo .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

# ---- the program ------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup  ## make a synthetic whole-head case in demo/ and find its new lesions (DEMO_THREADS=N, 0 means all)
	@rm -rf demo && mkdir -p demo
	$(BIN)/lesionwise phantom demo/cases --cases 1 --seed 1
	@for case in demo/cases/*/; do \
	    out=demo/results/$$(basename $$case); mkdir -p $$out; \
	    echo; echo "segmenting $$case"; \
	    $(BIN)/lesionwise segment \
	        -t1 $$case/flair_time01_on_middle_space.nii.gz -t2 $$case/flair_time02_on_middle_space.nii.gz \
	        -o $$out/segmentation.nii.gz --probabilities $$out/probabilities.nii.gz --json $$out/report.json \
	        --threads $(or $(DEMO_THREADS),0); \
	    echo; echo "images and truth:  $$case"; echo "mask, map, report: $$out/"; \
	done

# ---- tests ------------------------------------------------------------------------------------------------------------

.PHONY: test
test: setup  ## run all tests; the package must be covered to 90 %
	$(BIN)/python -m pytest --cov=lesionwise --cov-report=term --cov-fail-under=90 --durations=10 -m "not container"

.PHONY: check
check: setup  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: bench
bench: setup  ## time the steps of the pipeline
	$(BIN)/python -m benchmarks
