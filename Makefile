# Every verb makes its own virtual environment, so each works in a fresh clone with Python and git.
# The package is installed there as users install it: what runs is never the source tree.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The interpreter's version and place. A virtual environment of another one is made again.
INTERPRETER := $(shell $(PYTHON) -c 'import sys; print(sys.version.split()[0], sys.base_prefix)')
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed, PYTHON=$(PYTHON) is " + sys.version.split()[0])'
# What builds the package. It stays in the virtual environment, so that installing the package again
# needs no network.
BACKEND = 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])'
INSTALL = $(PIP) install --quiet --no-build-isolation
# What is installed besides the package: of the extras of pyproject.toml.
EXTRAS ?= test
# The clients of make interop that are no packages of Python.
CLIENTS := skopeo podman buildah docker-registry apache2-utils restic borgbackup rclone curl openssh-client npm
# What the installed package is made of. A change of any of it installs the package again.
SOURCES := pyproject.toml README.md LICENSE $(wildcard docs/man/*.1 packaging/launch/*) $(shell find src -type f -not -name '*.pyc')

.PHONY: help demo demo-needs test interop lint type bench docs written package clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo      the main job in a throwaway HOME: login, clone, fetch, revocation"
	@echo "make test      everything that this machine can run, static checks included"
	@echo "make interop   the real clients of each tool that this machine has, and what is skipped"
	@echo "make lint      ruff, black, bandit and zizmor"
	@echo "make type      mypy, for every platform"
	@echo "make bench     what an answer costs, overwriting a secret, and the audit log"
	@echo "make docs      the documentation against the program, and its links"
	@echo "make written   the tables, the help and the manual pages in docs/, written anew"
	@echo "make package   the wheel and the source distribution, in dist/"
	@echo "make clean     forget everything that was made"

demo: demo-needs $(VENV)/.keylease
	@$(BIN)/python packaging/demo.py

# What this machine lacks is said before anything is installed.
demo-needs:
	@$(CHECK_PYTHON)
	@$(PYTHON) packaging/demo.py --check

# PYTHONPATH would let the tests import the source tree instead of what is installed.
test: $(VENV)/.test
	@env -u PYTHONPATH $(BIN)/pytest $(ARGS)

# They are part of `make test`, too. Here every client is installed that pip and npm have, and the
# reason of each skip is what one looks for.
interop: $(VENV)/.test
	@echo "installing the clients that come as packages of Python, and pnpm if npm is here"
	@$(INSTALL) ".[test,clients,interop]"
	@command -v pnpm >/dev/null || ! command -v npm >/dev/null || test -e $(BIN)/pnpm \
	  || npm install --silent --global --prefix $(VENV) pnpm \
	  || echo "pnpm could not be installed, so its tests are skipped"
	@env -u PYTHONPATH $(BIN)/pytest -v tests/interop $(ARGS)
	@echo "What was skipped, and why, stands above. On Debian and Ubuntu the other clients are:"
	@echo "  apt-get install $(CLIENTS)"
	@echo "and terraform, docker and a cargo of 1.74 or newer, each from its own site."

lint: $(VENV)/.test
	@$(BIN)/pytest -q -k "not mypy" tests/test_static_checks.py

type: $(VENV)/.test
	@$(BIN)/pytest -q -k mypy tests/test_static_checks.py

bench: $(VENV)/.keylease
	@$(BIN)/python benchmarks/helper_latency.py $(ARGS)
	@$(BIN)/python benchmarks/clearing.py
	@$(BIN)/python benchmarks/audit_log.py --lines 100000 --rounds 1 --appends 300

written: $(VENV)/.test
	@$(BIN)/python packaging/tables.py
	@cd tests && ../$(BIN)/python test_help_is_documented.py
	@$(BIN)/python packaging/man.py

docs: $(VENV)/.test
	@env -u PYTHONPATH $(BIN)/pytest -q tests/test_documents.py $(wildcard tests/test_help_is_documented.py)

# The same bytes as `python -m build` alone: hatchling has a date of its own, and SOURCE_DATE_EPOCH,
# where it is set, is for both.
package: $(VENV)/.test
	@rm -rf dist
	@$(BIN)/python -m build
	@KEYLEASE_WHEEL=windows $(BIN)/python -m build --wheel # decision 26: its programs are others

clean:
	@rm -rf $(VENV) build dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

ifneq ($(shell cat $(VENV)/.made 2>/dev/null),$(INTERPRETER))
.PHONY: $(VENV)/.made
endif
$(VENV)/.made: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -c $(BACKEND) >$(VENV)/.backend
	@$(PIP) install --quiet --requirement $(VENV)/.backend
	@echo "$(INTERPRETER)" >$@

$(VENV)/.keylease: $(VENV)/.made $(SOURCES)
	@echo "installing keylease"
	@$(INSTALL) .
	@touch $@

$(VENV)/.test: $(VENV)/.made $(SOURCES)
	@echo "installing keylease and what its tests need"
	@$(INSTALL) ".[$(EXTRAS)]"
	@touch $@ $(VENV)/.keylease
