"""Accuracy check: run a suite, judge it against a baseline."""
