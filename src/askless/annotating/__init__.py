"""A bare file and an LLM in, labels with a promise out: a small model learns from the LLM's answers as they come."""
