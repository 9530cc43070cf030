# Everything runs in .venv, which `make setup` makes and keeps up to date; each target does that first.
#
#   make demo       train a tiny model on this CPU, everything real, in minutes
#   make learn      see, on this CPU, that a model learns to use feedback: 3 seeds of 30 minutes, then the paper's
#                   choices replaced one at a time; results and plots after either
#   make test       the tests that need no GPU, an end-to-end training among them; not the slow ones
#   make test-unit  the quick ones, without starting the host
#   make test-all   also the slow ones, and those for a GPU where there is one
#   make lint       ruff and mypy
#   make lock       resolve .ci/requirements.in anew into .ci/requirements.txt

SHELL := /bin/bash
python := .venv/bin/python

# Ray's workers import torch, vLLM and DeepSpeed a dozen times: without bytecode each import takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache

.PHONY: setup demo learn test test-unit test-all lint format lock
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n 's/^#   //p' Makefile

setup:
	@.ci/setup

demo: setup
	.venv/bin/rlef demo

learn: setup
	.venv/bin/rlef learn --seeds 3 --arms all

test: setup
	$(python) -m pytest -m "not slow and not gpu"

test-unit: setup
	$(python) -m pytest -m "not slow and not gpu and not e2e and not host"

test-all: setup
	$(python) -m pytest

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: setup
	.venv/bin/uv pip compile --quiet --python-version 3.12 --overrides .ci/overrides.txt --custom-compile-command "make lock" \
		.ci/requirements.in --output-file .ci/requirements.txt
