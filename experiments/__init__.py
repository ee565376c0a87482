"""Experiments beyond one run: they train or measure, and write numbers for the report."""
