"""Decide, item by item, whether a small model or an LLM answers."""

__version__ = "0.1.0"
