#!/usr/bin/env bash
# Trains all 27 models, one process per core, and reports on them; any arguments go to ex1.py, e.g. --seeds 0-2.
set -eu
cd "$(dirname "$0")"
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" ex1.py --model-name all "$@"
