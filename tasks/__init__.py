"""Prefect tasks: thin adapters from paths and plain values to `deferral`, and back to paths."""
