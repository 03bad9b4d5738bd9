"""Evaluate, plan and explain on recorded answers."""
