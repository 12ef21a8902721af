# The verbs of development. CI uses the same ones.
UV ?= uv
RUN := $(UV) run --frozen

.PHONY: help setup format lint types imports lock isolated check test cover up containers bases bench

help:  ## list the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## install everything a contributor needs
	$(UV) sync --frozen --all-groups
	$(RUN) pre-commit install

format:  ## format and fix what can be fixed
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

lint:  ## style and common mistakes
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types:  ## mypy, strict, over packages, migrations and tests
	$(RUN) mypy

imports:  ## the arrows between packages and layers
	$(RUN) lint-imports

lock:  ## uv.lock agrees with every pyproject.toml
	$(UV) lock --check

isolated:  ## each deployable imports with only what it declares
	@for name in shared gateway identity flags; do \
		module=undercroft.$$name$$([ $$name = shared ] && echo .app || echo .main); \
		$(UV) run --frozen --isolated --no-dev --package undercroft-$$name python -c "import $$module" || exit 1; \
		echo "$$module imports alone"; \
	done

check: lock lint types imports isolated  ## everything but the tests

test:  ## the tests
	./undercroft test

cover:  ## the tests with the branch coverage gate
	./undercroft test --cov --cov-report=term

up:  ## the platform, restarting on a code change
	./undercroft up --reload

COMPOSE ?= $(shell command -v docker-compose || echo docker compose)

containers:  ## the platform in containers, on the code of the working tree
	./undercroft secrets
	$(COMPOSE) -f docker-compose.yml -f docker-compose.dev.yml up --build

bases:  ## base images where no registry can be reached (root)
	deploy/airgap/build.sh

bench:  ## every benchmark against its peer (nothing else may run)
	@for file in tests/bench/*.py; do echo "== $$file"; $(RUN) python -m tests.bench.$$(basename $$file .py) || exit 1; done
