# Isthmus. `make` alone prints this help.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # if it is set, every process compiles the sources again

.DEFAULT_GOAL := help
.PHONY: help atlas test lint format bench docs screenshots lock clean

help: ## Print this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

atlas: $(VENV)/runtime.installed ## Install what is needed, and render the quickstart atlas
	$(BIN)/isthmus build deploy/atlases/quickstart.yaml

test: $(VENV)/dev.installed ## Install what is needed, and run the whole test suite
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev.installed ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.installed ## Format the sources (ruff)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.installed ## Measure speed and quality and write docs/benchmarks.md; print the benchmarks of gallery and Prefect
	$(BIN)/python docs/make_benchmarks.py
	$(BIN)/python tests/bench/gallery.py
	$(BIN)/python tests/bench/orchestration.py local --chunks 8 --chunk-seconds 5

screenshots: $(VENV)/dev.installed ## Take screenshots of every page of a gallery, at three widths, in both colour schemes
	$(BIN)/python tests/browser/make_screenshots.py

docs: $(VENV)/dev.installed ## Render the pictures of docs/from-lucid.md again
	$(BIN)/python docs/make_pictures.py

lock: ## Pin all dependencies again (needs uv)
	echo uv | uv pip compile - $(LOCK) --no-annotate -o locks/installer.lock
	uv pip compile pyproject.toml $(LOCK) -o locks/runtime.lock
	uv pip compile pyproject.toml --extra gpu -c locks/runtime.lock $(LOCK) -o locks/gpu.lock
	uv pip compile pyproject.toml --extra mp4 --extra parquet --extra ray --extra test --extra lint -c locks/runtime.lock $(LOCK) -o locks/dev.lock
LOCK := --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header

clean: ## Remove the environment and the caches of tools; keep atlases
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13) and f"Isthmus needs Python 3.10 to 3.13; this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# Install with uv, which takes a third of the time of pip. If uv is missing or cannot reach the registry, use pip.
define install
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(1) || $(PIP) $(1)
endef
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# dev.lock has the packages of runtime.lock too, so each is one installation, whose downloads run side by side.
$(VENV)/runtime.installed $(VENV)/dev.installed: $(VENV)/%.installed: locks/%.lock locks/installer.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes -r locks/installer.lock || true
	$(call install,--require-hashes -r locks/$*.lock)
	$(call install,--no-deps --no-build-isolation --editable .)
	@touch $(VENV)/runtime.installed $@
