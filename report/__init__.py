"""Reports on many runs, made from their files: ``python -m report``; in Python ``from report import load``."""

from report.tables import load

__all__ = ["load"]
