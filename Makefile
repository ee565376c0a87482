# make run        train Q1_19 for 15 epochs, or: make run ARGS="--model-name Q1_1 --epochs 2"
# make test       run all tests
# make quick      run those of tests/unit and tests/integration (minutes)
# make lint       check style, types and who imports whom
# make reproduce  train what results/reproduction holds and report on it (hours; stopped, it goes on)
# make look       train what results/look holds, and show what the networks look at (hours; stopped, it goes on)
# make fuzz       feed 200,000 mutated inputs to everything that reads any (half an hour)
# make bench      time everything against the textbook loop and the bare limit (three quarters of an hour)
# All first make the virtual environment .venv, once: with requirements.txt alone to run, with more to test.

PYTHON = python3
VENV = .venv
ARGS = --model-name Q1_19 --epochs 15

.PHONY: run test quick lint reproduce look fuzz bench clean

run: $(VENV)/run
	$(VENV)/bin/python ex1.py $(ARGS)

test: $(VENV)/test
	$(VENV)/bin/python -m pytest

quick: $(VENV)/test
	$(VENV)/bin/python -m pytest tests/unit tests/integration

lint: $(VENV)/test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=. $(VENV)/bin/lint-imports

REPRODUCTION = ./run_all.sh --results-dir results/reproduction
reproduce: $(VENV)/run
	$(REPRODUCTION)
	$(REPRODUCTION) --model-name Q1_1,Q1_4,Q1_11,Q1_17,Q1_18,Q1_19,Q2_1,Q2_2 --seeds 0-2
	$(REPRODUCTION) --model-name Q1_1 --shuffle fixed per-image --seeds 0-2
	$(REPRODUCTION) --model-name Q1_1 --seeds 0-49
	set -e; for n in $$(seq 3 19); do \
	    $(REPRODUCTION) --model-name Q1_1 --shuffle fixed --seeds $$n --shuffle-seeds $$n; done
	$(REPRODUCTION) --model-name Q1_1,Q1_18 --seeds 0-2 --epochs 50
	$(REPRODUCTION) --model-name Q1_17 --seeds 0-5 --epochs 50
	$(REPRODUCTION) --model-name Q1_4 --seeds 0-8 --epochs 50
	$(REPRODUCTION) --model-name 'Q1_2?' --seeds 0-2
	$(VENV)/bin/python -m report results/reproduction --study --keep

look: $(VENV)/optional
	./experiments/look.sh

fuzz: $(VENV)/test
	$(VENV)/bin/python tests/fuzz.py 200000

bench: $(VENV)/optional
	$(VENV)/bin/python -m experiments.benchmarks

# The tested versions where this machine can have them, else the newest that fit.
PIP = $(VENV)/bin/python -m pip install
$(VENV)/run: requirements.txt constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt -c constraints.txt || { \
		echo "The tested versions are not for this machine; installing the newest that are."; \
		$(PIP) -r requirements.txt; }
	touch $@

$(VENV)/optional: $(VENV)/run requirements-optional.txt
	$(PIP) -r requirements-optional.txt -c constraints.txt || \
		echo "Going without the optional packages; the tests that need them are skipped."
	touch $@

$(VENV)/test: $(VENV)/optional requirements-dev.txt
	$(PIP) -r requirements-dev.txt -c constraints.txt || $(PIP) -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
