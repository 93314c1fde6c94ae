# Two targets a newcomer needs: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Nothing here may reach for a model hub; the embedded default and the tests need none.
OFFLINE = HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: demo test lint types check env wheel bench clean

demo: env
	$(OFFLINE) $(BIN)/seamaug expand --budget 10k --out runs/demo
	$(OFFLINE) $(BIN)/seamaug show runs/demo

test: env
	$(OFFLINE) $(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

check: test lint types

# The figures of the README and of benchmarks/results: minutes, on an otherwise idle machine.
bench: env
	$(OFFLINE) $(BIN)/python benchmarks/expand.py --out benchmarks/results/expand.json

env: $(VENV)/.installed

# uv where it is there (seconds), pip otherwise (a minute or two). uv does not read pip's settings,
# so pip's own find-links folders, where wheels of this machine may lie, are handed on to it.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seamaug needs Python 3.11 or newer; this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	if command -v uv >/dev/null 2>&1; then \
	  UV_FIND_LINKS="$$($(PYTHON) -m pip config list 2>/dev/null | sed -n "s/.*find-links='\(.*\)'/\1/p" | head -n 1)" \
	    uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else \
	  $(BIN)/python -m pip install --quiet -e '.[dev]'; \
	fi
	touch $@

clean:
	rm -rf $(VENV) build dist
