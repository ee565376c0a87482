"""Reports on many runs, made from their files: ``python -m report``."""
