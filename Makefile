# `make help` lists what can be done. Nothing needs to be installed beforehand but Python 3.11 or 3.12, git and make.
SHELL := /bin/sh
VENV := .venv/bin
RUN := $(VENV)/python
TESTS ?= tests
WORKERS ?= 2
TIMES ?= 10
ARGS ?=
ROWS ?=
COMMIT ?=
RESULTS ?=
OPENAI_SPEC ?= $(CHORUS_OPENAI_SPEC)
PYTEST_ARGS ?=
SOURCES := proto/generate.py kernels client services scripts tests benchmarks examples
# The GPU machine brings its own Python packages; nothing is installed there.
PYTHON ?= python3
# Tests that need no more than this machine.
HERE := not gpu and not compose and not conformance
# Real processes that share two busy cores now and then miss a time limit: so many tests may pass at their second attempt,
# and what the first one met is shown.
SECOND_ATTEMPTS := --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks
GPU_PATH := proto:kernels:services/engine:services/gateway:services/adapter-store:.

.DEFAULT_GOAL := help
.PHONY: help up down test test-long check format test-compose test-conformance gpu-test bench bench-slots bench-gateway bench-batches bench-gpu demo-eval proto setup setup-dev

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  Settings are environment variables: CHORUS_MODEL=<folder or hub id> CHORUS_DEVICE=cuda make up"
	@echo "  Every one of them: .venv/bin/python -m chorus_engine --help (also chorus_gateway, chorus_adapter_store)"

setup:
	@python="$$(scripts/find-python)" && "$$python" -m scripts.bootstrap up

setup-dev:
	@python="$$(scripts/find-python)" && "$$python" -m scripts.bootstrap up dev

up: setup ## Start everything on 127.0.0.1:8000; Ctrl-C stops it. DETACH=1 leaves it running in the background
	@exec $(RUN) -m scripts.up $(if $(DETACH),--detach)

down: ## Stop what `make up DETACH=1` left running
	@exec $(RUN) -m scripts.down

test: setup-dev ## Run all tests that need no GPU and no Docker
	@$(RUN) -m pytest -n $(WORKERS) --dist loadgroup $(SECOND_ATTEMPTS) -m "$(HERE)" \
		$(PYTEST_ARGS) $(TESTS)

test-long: setup-dev ## Run the random tests TIMES (10) as long, with new seeds: what failed is printed to be run again
	@CHORUS_TEST_TIMES=$(TIMES) $(RUN) -m pytest -n $(WORKERS) --dist loadgroup -m "hypothesis and $(HERE)" \
		--timeout 7200 --hypothesis-profile random $(PYTEST_ARGS) $(TESTS)

check: setup-dev ## Format, lint, types, walls and the fast tests: green before every commit
	@$(VENV)/ruff format --check .
	@$(VENV)/ruff check .
	@$(VENV)/mypy $(wildcard $(SOURCES))
	@$(VENV)/lint-imports --no-logo
	@$(RUN) -m pytest -n $(WORKERS) --dist loadgroup -m "$(HERE) and not slow and not stack" $(PYTEST_ARGS) $(TESTS)

format: setup-dev ## Rewrite the files as `make check` wants them
	@$(VENV)/ruff check --fix-only -q .
	@$(VENV)/ruff format .

test-compose: setup-dev ## Build the images, start compose.yaml, run the clients against it, kill the engine
	@$(RUN) -m pytest -s -m compose $(PYTEST_ARGS) tests/compose

test-conformance: setup-dev ## Run seven of OpenAI's clients and schemathesis against a stack. OPENAI_SPEC=<OpenAI's openapi.yaml>
	@$(RUN) -m tests.conformance.environments
	@CHORUS_OPENAI_SPEC="$(OPENAI_SPEC)" $(RUN) -m pytest -s -m conformance $(PYTEST_ARGS) tests/conformance

gpu-test: ## Run the CUDA tests with PYTHON (python3) as it is installed on a CUDA machine
	@PYTHONPATH="$(GPU_PATH):$$PYTHONPATH" PYTHON="$(PYTHON)" scripts/gpu-test $(PYTEST_ARGS)

bench: setup-dev ## Measure the engine on this machine's CPU against transformers and PEFT in the same run
	@$(RUN) -m benchmarks.engine $(ARGS)

bench-slots: setup-dev ## Measure adapters as a fleet with real processes on CPU. ARGS=--quick, ARGS="--only pacing,cold"
	@$(RUN) -m benchmarks.slots $(ARGS)

bench-gateway: setup-dev ## Measure the front door: requests/s, tokens/s, what it adds, beside LiteLLM. ARGS=--quick, ARGS="--soak 3600"
	@$(RUN) -m benchmarks.gateway $(ARGS)

bench-batches: setup-dev ## Answer 10,000 lines over six adapters, each once, while services are killed. ARGS="--database postgresql"
	@$(RUN) -m benchmarks.batches $(ARGS)

bench-gpu: ## Measure the engine with PYTHON on a CUDA machine. ROWS=single,batch32 COMMIT=<id> RESULTS=<folder>
	@GRPC_VERBOSITY=ERROR PYTHONPATH="$(GPU_PATH):$$PYTHONPATH" $(PYTHON) -m benchmarks.gpu \
		--rows "$(ROWS)" --commit "$(COMMIT)" --results "$(RESULTS)" $(ARGS)

demo-eval: setup-dev ## Grade the demo's adapters through HTTP, on the stack that runs here or one started for it
	@$(RUN) -m scripts.with_stack $(RUN) examples/demo/evaluate.py $(ARGS)

proto: ## Write the Python stubs of proto/**/*.proto
	@python="$$(scripts/find-python)" && "$$python" proto/generate.py
