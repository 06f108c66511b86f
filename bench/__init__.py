"""Measurements, run by hand and not by the tests: `python -m bench.catalogue`, `python -m bench.importing`."""
