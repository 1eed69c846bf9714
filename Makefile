# Thin names for the commands that README.md shows. The only thing needed beforehand is Python 3.11 or newer.

UV_VERSION := 0.13.8
UV := .tools/bin/uv
PYTHON ?= $(shell for name in python3.11 python3 python3.14 python3.13 python3.12; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$name; break; }; done)

# uv is to trust whom the machine trusts, as pip does.
export UV_SYSTEM_CERTS := 1

# The tests start some hundred processes: what they import is compiled once, also where images turn that off.
unexport PYTHONDONTWRITEBYTECODE

# Beside the one that everything is tested on: versions, or paths of interpreters.
PYTHONS ?= 3.12 3.13 3.14

.PHONY: run test test-pythons test-streamlit check lint bench setup clean

run: $(UV)  ## set everything up, start the bridge, show it one agent run, stay up for yours
	@$(UV) sync --quiet --frozen --no-dev --inexact --python "$(PYTHON)"
	@.venv/bin/otel-bridge demo

test: setup  ## set everything up and run the tests, on all cores
	.venv/bin/pytest --numprocesses auto --dist worksteal

test-pythons: $(UV)  ## the tests of the agent's side on every other Python that is there
	@set -e; for wanted in $(PYTHONS); do \
		python=$$($(UV) python find --no-python-downloads "$$wanted" 2>/dev/null) || { echo "== Python $$wanted is not there"; continue; }; \
		echo "== $$python"; \
		export UV_PROJECT_ENVIRONMENT=".tools/python-$$("$$python" -c 'import platform; print(platform.python_version())')"; \
		$(UV) sync --quiet --frozen --python "$$python"; \
		"$$UV_PROJECT_ENVIRONMENT/bin/pytest" tests/sdk tests/embedded tests/testing; \
	done

test-streamlit: $(UV) setup  ## the example for Streamlit, which is installed for this alone, in an environment of its own
	@UV_PROJECT_ENVIRONMENT=.tools/streamlit $(UV) sync --quiet --frozen --no-dev --group streamlit --python "$(PYTHON)"
	.venv/bin/pytest -m long tests/examples/test_streamlit.py

check: lint test  ## what CI runs

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup  ## every benchmark, one after the other
	@set -e; for script in tests/bench/bench_*.py; do echo "== $$script"; .venv/bin/python "$$script"; done

setup: $(UV)
	@$(UV) sync --quiet --frozen --python "$(PYTHON)"

$(UV):
	@test -n "$(PYTHON)" || { echo "otel-bridge needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up in .tools and .venv: a minute or so, this first time" >&2
	@"$(PYTHON)" -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz dist
