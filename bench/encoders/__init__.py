"""Frozen encoders that a user brings: a network of any kind, or a file of features."""
