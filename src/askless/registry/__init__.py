"""Versions of a model: compared, promoted, rolled back."""
