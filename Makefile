# make demo: install, then texts to WAVs.   make test: install, then lint and all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU_VENV := .venv-gpu
PIP := $(BIN)/python -m pip install -c constraints.txt
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test fast lint docs bench nano gpu-aot clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Each mark records that the packages of the current pyproject.toml are installed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): some 60 packages, 1 GB on disk; 1 to 5 minutes."
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt no-deps.txt $(VENV)/.installed
	@echo "Installing what the tests need, PyTorch above all: 0.5 GB to download and 2 GB on disk with"
	@echo "its CPU build; on Linux PyPI's comes with CUDA, some 3 GB more. 1 to 10 minutes."
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps -r no-deps.txt
	touch $@

# Four sounds of the model that comes with the package.
demo: $(VENV)/.installed
	@echo "Compiling the model for this machine, once: one to two minutes on two cores."
	$(BIN)/audioldm2-jax generate -tl examples/prompts.txt -b 4 -s demo/out --pictures
	@cat examples/next.txt

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q -n 3 --durations=40

# Without the minutes-long tests.
fast: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q -n 3 -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check -q . && $(BIN)/pyrefly check && $(DOCS)

# The site, from docs/ and the docstrings, into site/; a warning is an error.
docs: $(VENV)/.installed-dev
	$(DOCS)

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/versus_diffusers.py

# The embedded model from nothing; goes on after a stop (docs/nano.md).
nano: $(VENV)/.installed-dev
	$(BIN)/python -m audioldm2_jax.recipes.nano.build

$(GPU_VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing JAX with CUDA 13 into $(GPU_VENV): 6 GB on disk; 5 to 15 minutes."
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install -c constraints.txt -e '.[cuda,train]' pytest
	touch $@

# Programs compiled for an NVIDIA H100, without a GPU (docs/rehearsals.md).
gpu-aot: $(GPU_VENV)/.installed
	JAX_PLATFORMS=cpu $(GPU_VENV)/bin/python -m pytest -q tests/gpu_aot

clean:
	rm -rf $(VENV) $(GPU_VENV) demo site *.egg-info
