"""Measure a model on specimens it never saw, and show the result."""
