"""The decision log, and what is watched in it."""
