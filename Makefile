# `make` alone lists what there is. Every target sets up the packages that it needs: the first command typed after the clone may be
# any but those that need an image (`run`, `submission`, `image-test`) or a trained metric network (`segmentation-network`).
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

# What is asked for on the command line is made, also where there is a .venv.
ifneq (,$(filter command,$(origin LOCK) $(origin PYTHON)))
.PHONY: anew
$(READY): anew
endif

$(READY): $(wildcard requirements/*.lock) requirements/setup.sh pyproject.toml
	requirements/setup.sh $(VENV)
	touch $@

.PHONY: clean
clean:  ## remove the virtual environment, caches and what targets made, but runs/, wheels/ and images
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
	        -o $$out/segmentation.nii.gz --probabilities $$out/probabilities.nii.gz --report $$out/report \
	        --threads $(or $(DEMO_THREADS),0); \
	    echo; echo "images and truth:  $$case"; echo "mask and map:      $$out/"; \
	    echo "report:            $$out/report/report.html (open it in a browser)"; \
	done

# ---- tests ------------------------------------------------------------------------------------------------------------

.PHONY: test
test: setup  ## run the tests, but those of the container and those that take minutes, on two processors (TEST_PROCESSES=N); 90 % must be covered
	$(BIN)/python -m pytest -n $(or $(TEST_PROCESSES),2) --cov=lesionwise --cov-report=term --cov-fail-under=90 --durations=10 -m "not container and not long"

.PHONY: fuzz
fuzz: setup  ## try 20000 hostile NIfTI headers (FUZZ_INPUTS=N another number)
	PYTHONPATH=tests $(BIN)/python -m fuzz_headers

.PHONY: check
check: setup  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is compared with, beside the program's own packages.
WITH_MONAI = $(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --require-hashes -r requirements/bench.lock

.PHONY: bench
bench: setup  ## measure ratios side by side and store them in benchmarks/RESULTS.md
	$(WITH_MONAI)
	$(BIN)/python -m benchmarks

.PHONY: bench-check
bench-check: setup  ## measure again; fail where a ratio is worse by more than a fifth
	$(WITH_MONAI)
	$(BIN)/python -m benchmarks --check

.PHONY: bench-exported
bench-exported: setup  ## time the network in other inference engines (needs a C++ compiler)
	$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --require-hashes -r requirements/exported.lock
	$(BIN)/python -m benchmarks.exported_graphs

# ---- training: RECIPE=NAME takes train/recipes/NAME.toml, DATA=... patients in the challenge's layout -----------------

RECIPE := shipped
RUN = runs/$(RECIPE)$(if $(FOLD),-fold$(FOLD))
USE_RECIPE = --recipe train/recipes/$(RECIPE).toml
# DEVICE=cuda trains on the GPU.
RUN_ON = $(if $(DEVICE),--device $(DEVICE))
# FOLD=N, 0 to 4, says which fifth of the patients both stages hold out.
# Real material for the simulation: BACKGROUNDS=folder that train.backgrounds made, SHAPES="library.npz folder-of-masks".
MATERIAL = $(if $(DATA),--data $(DATA)) $(if $(FOLD),--fold $(FOLD)) $(foreach shapes,$(SHAPES),--shapes $(shapes))
SOURCES = $(MATERIAL) $(if $(DATA),--cache $(RUN)/patients) $(if $(BACKGROUNDS),--backgrounds $(BACKGROUNDS))

# A recipe may go on with the first network on larger patches, and stage 2 then starts from that.
LARGE_PATCHES = $(shell grep -o '^\[large-patches\]' train/recipes/$(RECIPE).toml)

# Before the metric network, for its outputs teach that one too.
.PHONY: narrow-network
narrow-network: setup
	$(BIN)/python -m train.segmentation $(USE_RECIPE):warm-up --output $(RUN)/warm-up $(SOURCES) $(RUN_ON)
	$(if $(LARGE_PATCHES),$(BIN)/python -m train.segmentation $(USE_RECIPE):large-patches --initial $(RUN)/warm-up \
	    --output $(RUN)/large-patches $(SOURCES) $(RUN_ON))

.PHONY: metric-network
metric-network: narrow-network  ## train the network that learns the lesion-wise metric (RECIPE=..., DATA=...)
	test $(RUN)/outputs.npz -nt $(RUN)/warm-up/checkpoint.pt || $(BIN)/python -m train.metric_network.record_outputs $(USE_RECIPE) \
	    --run $(RUN)/warm-up --output $(RUN)/outputs.npz $(SOURCES)
	$(BIN)/python -m train.metric_network $(USE_RECIPE) --network-outputs $(RUN)/outputs.npz \
	    --output $(RUN)/metric_network $(MATERIAL) $(RUN_ON)

.PHONY: segmentation-network
segmentation-network: setup  ## train the segmentation network with it (RECIPE=..., DATA=...)
	$(BIN)/python -m train.segmentation $(USE_RECIPE) --metric-network $(RUN)/metric_network \
	    $(if $(LARGE_PATCHES),--initial $(RUN)/large-patches) \
	    --output $(RUN)/segmentation $(SOURCES) $(RUN_ON)

.PHONY: train
train:  ## train both networks, one after the other (RECIPE=..., DATA=...)
	$(MAKE) --no-print-directory metric-network
	$(MAKE) --no-print-directory segmentation-network

.PHONY: train-smoke
train-smoke:  ## run both trainings to the end, tiny ones, in under two minutes
	rm -rf runs/smoke
	$(MAKE) --no-print-directory train RECIPE=smoke

# Each stops at a budget in the recipe: 145 and 110 minutes on a processor, 19 on a GPU. WEIGHTS=folder exports elsewhere.
WEIGHTS := weights
.PHONY: weights
weights:  ## repeat what made weights/, over four hours, the last minutes on a GPU (BACKGROUNDS=..., SHAPES=...)
	@test -n "$(BACKGROUNDS)" -a -n "$(SHAPES)" || { echo "usage: make weights BACKGROUNDS=folder SHAPES=\"library.npz folder-of-masks\"; without them these are other weights" >&2; exit 2; }
	@$(MAKE) --no-print-directory setup
	@test "$(DEVICE)" = cpu || $(BIN)/python -c 'from lesionwise.devices import choose_device; choose_device("cuda", print)' 2> /dev/null \
	    || { echo "no GPU works here, and the last parts of the recipe take one; DEVICE=cpu does it without, in far fewer steps" >&2; exit 2; }
	$(MAKE) --no-print-directory narrow-network
	$(BIN)/python -m train.segmentation $(USE_RECIPE):wide --initial $(RUN)/large-patches --output $(RUN)/wide $(SOURCES) $(RUN_ON)
	$(BIN)/python -m train.segmentation $(USE_RECIPE):wide --initial $(RUN)/wide --seed 2 --output $(RUN)/wide-again $(SOURCES) $(RUN_ON)
	$(BIN)/python -m train.segmentation $(USE_RECIPE):learned-metric --initial $(RUN)/wide-again --seed 3 --output $(RUN)/learned-metric $(SOURCES) $(RUN_ON)
	$(BIN)/python -m train.export $(RUN)/wide $(RUN)/wide-again $(RUN)/learned-metric --facts weights/manifest.json \
	    --threshold 0.2 --certainty 0.96 --output $(WEIGHTS)
	@echo "$(WEIGHTS)/manifest.json keeps the facts of the run before: bring commit, steps and minutes up to date."
	@echo "Still to do, in about half an hour of one processor, for calibrated probabilities, the confidence of lesions and the operating point moved alike:"
	@echo "  $(BIN)/python -m train.synthetic_validation --network $(WEIGHTS) --cases runs/synthetic-cases --backgrounds $(BACKGROUNDS)$(foreach shapes,$(SHAPES), --shapes $(shapes)) --json $(RUN)/scores.json"
	@echo "  $(BIN)/python -m train.calibrate $(RUN)/scores.json --manifest $(WEIGHTS)/manifest.json"
	@echo "And, with real pairs, the scores that the model card states:"
	@echo "  $(BIN)/python -m train.validate PAIRS/* --weights $(WEIGHTS) --truth ground_truth.nii.gz --record"

PAIRS := ../shared/data/ljubljana/pairs
.PHONY: validate
validate: setup  ## score weights/ on the real pairs in PAIRS=..., fail where the model card says otherwise (VALIDATE_OPTIONS=... of train.validate)
	@ls -d $(PAIRS)/*/ > /dev/null || { echo "no pairs in $(PAIRS); name their folder: make validate PAIRS=..." >&2; exit 2; }
	$(BIN)/python -m train.validate $(PAIRS)/*/ --check $(VALIDATE_OPTIONS)

# ---- the container (docs/container.md) --------------------------------------------------------------------------------

DOCKER := docker
BUILD_ARGS :=
VARIANT := gpu
# lesionwise:0.1.0 for VARIANT=gpu, lesionwise:0.1.0-cpu for VARIANT=cpu
IMAGE = lesionwise:$(VERSION)$(if $(filter cpu,$(VARIANT)),-cpu)
TOOLS := build/tools

.PHONY: image
image:  ## build the image that runs on a GPU, or without one
	$(DOCKER) build -t $(IMAGE) --build-arg VARIANT=$(VARIANT) --build-arg VERSION=$(VERSION) \
	    --build-arg REVISION=$$(git rev-parse --verify -q HEAD || echo unknown) $(BUILD_ARGS) .
	@echo "$(IMAGE): $$($(DOCKER) image inspect --format '{{.Size}}' $(IMAGE)) bytes"

.PHONY: image-cpu
image-cpu: VARIANT := cpu
image-cpu: image  ## build the small image for CPUs (docs/container.md says where its torch comes from)

.PHONY: run
run:  ## segment the patients in folder IN=... into folder OUT=... with the image (VARIANT=cpu: without a GPU)
	@test -d "$(IN)" -a -n "$(OUT)" || { echo "usage: make run IN=folder-of-patients OUT=folder [VARIANT=cpu]" >&2; exit 2; }
	@mkdir -p "$(OUT)"
	$(DOCKER) run --rm $(if $(filter gpu,$(VARIANT)),--gpus all) --network none --user "$$(id -u):$$(id -g)" \
	    -v "$$(realpath "$(IN)"):/in:ro" -v "$$(realpath "$(OUT)"):/out" $(IMAGE) batch /in /out --threads 0

.PHONY: wheels
wheels: setup  ## download the CPU image's packages into wheels/, to build it where there is no index
	@locks=$$(cat requirements/cpu.lock requirements/data.lock | cksum); \
	if [ "$$(cat wheels/complete 2>/dev/null)" != "$$locks" ]; then \
	    rm -rf wheels/*; \
	    $(BIN)/python -m pip download -qq --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
	        -d wheels -r requirements/cpu.lock -r requirements/data.lock; \
	    echo "$$locks" > wheels/complete; \
	fi

.PHONY: submission
submission: $(TOOLS)/.ready  ## pack the image and its papers for the evaluation platform into dist/ (VARIANT=cpu: the small one)
	docker/pack_submission.sh "$(DOCKER)" $(IMAGE) $(VARIANT) dist/lesionwise-$(VERSION)-$(VARIANT)

.PHONY: image-test
image-test: VARIANT := cpu
image-test: setup $(TOOLS)/.ready  ## test the CPU image under the platform's conditions
	LESIONWISE_DOCKER="$(DOCKER)" LESIONWISE_IMAGE=$(IMAGE) LESIONWISE_BUILD_ARGS="$(BUILD_ARGS)" \
	    $(BIN)/python -m pytest -m container --durations=15 -n 2 --dist loadfile --no-loadscope-reorder tests/container

$(TOOLS)/.ready: requirements/tools.lock | setup
	rm -rf $(TOOLS)
	$(BIN)/python -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
	    -r requirements/tools.lock
	touch $@
