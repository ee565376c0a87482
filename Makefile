# make run        train Q1_19 for 15 epochs, or: make run ARGS="--model-name Q1_1 --epochs 2"
# make test       run the tests
# make fuzz       feed 200,000 mutated inputs to everything that reads any (half an hour)
# Both first make the virtual environment .venv, once.

PYTHON = python3
VENV = .venv
ARGS = --model-name Q1_19 --epochs 15

.PHONY: run test fuzz clean

run: $(VENV)/installed
	$(VENV)/bin/python ex1.py $(ARGS)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest

fuzz: $(VENV)/installed
	$(VENV)/bin/python tests/fuzz.py 200000

# The tested versions where this machine can have them, else the newest that fit.
$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -r requirements-dev.txt -c constraints.txt || { \
		echo "The tested versions are not for this machine; installing the newest that are."; \
		$(VENV)/bin/python -m pip install -r requirements-dev.txt; }
	touch $(VENV)/installed

clean:
	rm -rf $(VENV) .pytest_cache __pycache__ tests/__pycache__
