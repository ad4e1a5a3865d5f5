# Everything a person or CI runs. Needs Python 3.11 to 3.13 and make, nothing else.
#
#   make run FILES=…    files and folders to load first
#   make run TARGET=…   the dbt target (default: the one that profiles.yml names)
#   make run PYTHON=…   the interpreter, where the first suitable one is not the wanted one
#   make test TESTS=…   these files and folders of tests alone; also for prove and check
#   make test ONLY=…    the tests whose names fit, as pytest -k has it
#
# All paths are relative, so that a folder whose name has spaces works.

PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3)
bin := .venv/bin
target := $(if $(TARGET),--target $(TARGET))
# Each engine beside PostgreSQL has requirements of its own, which only its users install. Spark's
# target takes Sail where there is no Java.
spark := $(if $(shell command -v java),spark,sail)
engine := .venv/.$(or $(filter duckdb,$(TARGET)),$(if $(filter spark,$(TARGET)),$(spark)),run)

.DEFAULT_GOAL := help
.PHONY: run serve secrets test check prove mutants changed wheel image docs requirements \
  clean help

# Two goals would install into one environment at a time.
.NOTPARALLEL:

run: $(engine) ## load FILES if given, build all tables and print user_features
	@if [ -e "$$FILES" ]; then $(bin)/labmart run $(target) "$$FILES"; \
	else $(bin)/labmart run $(target) $(FILES); fi

serve: .venv/.service ## serve uploads, results and a page at http://127.0.0.1:8000
	@$(bin)/labmart serve $(target)

test: .venv/.dev ## style, types, and all tests that a change can break
	$(pytest) -m "not prove" $(only)

prove: .venv/.dev ## the rest: kills, faults, long histories, whole builds on Spark, mutants
	$(pytest) -m prove $(only)

check: .venv/.dev ## the quick part of the tests: style, types, what needs no database
	$(pytest) --quiet -m "not slow and not prove" $(only)

mutants: .venv/.dev ## break each rule of the SQL and see a mart or a test show it
	$(pytest) -m prove tests/python/models/test_mutants.py

changed: $(engine) ## build and test what differs from the manifest in STATE=folder, in schema ci
	@$(database)
	$(slim) build --select state:modified+ --defer --favor-state --state "$(STATE)" $(target)
	$(slim) run-operation require_rows $(target)

# Production's schema is labmart, its loads are the same; what is not built here is read there.
slim = LABMART_SCHEMA=ci $(bin)/dbt

# One process more than cores, since tests also wait. Those that share something slow (a JVM, a
# service) follow each other in one process, in the order that conftest.py gives them.
workers := import os; print(os.cpu_count() + 1)
pytest = $(bin)/python -m pytest -n $$($(bin)/python -c '$(workers)') --dist loadgroup \
  --no-loadscope-reorder
only := $(TESTS) $(if $(ONLY),-k "$(ONLY)")

# dbt compiles with a profiles.yml, which each labmart command makes, and a database to look into.
# Exit code 2: profiles.yml names a server of one's own.
database := if [ -n "$$PGHOST" ]; then $(bin)/labmart db url > /dev/null; \
  else $(bin)/labmart db start || [ $$? -eq 2 ]; fi

wheel: .venv/.run ## build a wheel, which brings the dbt project: dist/labmart-*.whl
	@rm -rf build dist
	$(bin)/python -m pip --quiet --disable-pip-version-check wheel --no-deps --no-build-isolation \
	  --wheel-dir dist .

image: ## build the image of the service
	docker build --tag labmart .

docs: $(engine) ## build all tables and write the dbt documentation: target/static_index.html
	@$(bin)/labmart build $(target)
	@$(bin)/python -c '$(write_docs)'
	@echo "To read it, open target/static_index.html in a browser."

# One file that needs no server.
write_docs := from loader import dbt, project; \
  dbt.write_docs(project.open_project(), "$(TARGET)" or None)

requirements: ## pin everything below pyproject.toml anew (needs uv; UPGRADE=1 takes newer versions)
	uv pip compile $(compile) -o requirements/run.txt
	for extra in duckdb sail spark service mcp metrics; do \
	  uv pip compile $(compile) -c requirements/run.txt --extra $$extra \
	    -o requirements/$$extra.txt || exit; \
	done
	uv pip compile $(compile) -c requirements/run.txt --group dev $(extras:%=--extra %) \
	  -o requirements/dev.txt

# What the tests try.
extras = duckdb spark service mcp metrics s3 https sftp

# One file for every system and Python version (--universal), and no address and no path in it.
compile = pyproject.toml --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 \
  --group build $(wheels) --generate-hashes --no-strip-extras --no-header --no-emit-index-url \
  --no-emit-find-links
# Wheels run nothing while they are installed. pyspark and its client have none, nor has halo, which
# dbt-metricflow draws its progress with.
wheels := --only-binary :all: --no-binary pyspark --no-binary pyspark-client --no-binary halo

secrets := superuser_password database_password token
secrets: $(secrets:%=secrets/%) ## write random passwords for docker compose, where there are none

# The folder is closed; the files are open, because the users in the containers are others.
secrets/%:
	@mkdir -p -m 700 secrets
	@umask 022; od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > $@.new && mv $@.new $@

clean: ## remove .venv, target/ and caches, after stopping the embedded server; its data stays
	@if [ -x $(bin)/labmart ]; then $(bin)/labmart db stop || echo "Going on all the same."; fi
	rm -rf .venv target logs dbt_packages build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@[ ! -e .labmart ] || echo "Kept: .labmart/, the embedded database; deleting it deletes the data."

help: ## this text
	@awk -F ':.*## ' '/^[a-z]*:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

# The virtual environment. .venv/.run, .venv/.dev and the like are the stamps of what it holds.
# .venv/.place says where it was made, and is there only when the last installation came to its end:
# one that was left half made, was moved with its folder, or lost its interpreter is made anew.
ifneq ($(shell $(bin)/python -c '' 2>/dev/null && cat .venv/.place 2>/dev/null),$(CURDIR))
.venv/.run .venv/.duckdb .venv/.sail .venv/.spark .venv/.service .venv/.dev: venv
endif

# The build backend comes with run.txt, so that it is there for pyspark, which has to be built.
pip := $(bin)/python -m pip --quiet --disable-pip-version-check install
hashed := $(pip) --require-hashes --no-deps --no-build-isolation $(wheels)
.venv/.%: requirements/%.txt requirements/run.txt pyproject.toml
	@echo "Installing requirements/$*.txt into .venv ..." >&2
	@rm -f .venv/.place
	@$(hashed) -r requirements/run.txt
	@[ $* = run ] || $(hashed) -r requirements/$*.txt
	@$(pip) --no-deps --no-build-isolation --editable .
	@touch .venv/.run $@ && pwd -P > .venv/.place

.PHONY: venv
venv:
	@for python in $(PYTHONS); do \
	  "$$python" -c '$(suitable)' 2>/dev/null && exec "$$python" -m venv --clear .venv; \
	done; \
	echo "labmart needs Python 3.11, 3.12 or 3.13 with its modules venv and ensurepip." >&2; \
	echo 'None of these is one: $(PYTHONS)' >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3-venv) or name it: make PYTHON=..." >&2; \
	exit 1
suitable := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
