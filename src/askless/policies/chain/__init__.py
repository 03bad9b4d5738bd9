"""Several experts in a row: each keeps what it is surest of."""
