"""Calibration, bounds, guarantees and tests of shift."""
