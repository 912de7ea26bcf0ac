# make demo: install, then texts to WAVs.   make test: install, then lint and all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test fast lint bench nano clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Each mark says that its packages are installed for the setup.py of that time.
$(VENV)/.installed: setup.py | $(BIN)/python
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.installed-dev: setup.py $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

# Four sounds of the model that comes with the package.
demo: $(VENV)/.installed
	$(BIN)/audioldm2-jax generate -tl examples/prompts.txt -b 4 -s demo/out --pictures
	@cat examples/next.txt

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q -n 2 --durations=15

# Without the minutes-long tests.
fast: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q -n 2 -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check -q .

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/versus_diffusers.py

# The embedded model from nothing; goes on after a stop (docs/nano.md).
nano: $(VENV)/.installed-dev
	$(BIN)/python -m configs.nano.build

clean:
	rm -rf $(VENV) demo *.egg-info
