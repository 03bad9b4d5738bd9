"""What asking will cost, what it did cost, and what it may not cost."""
