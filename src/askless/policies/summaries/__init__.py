"""Policies for texts of graded quality: who writes the summary."""
