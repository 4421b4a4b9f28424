"""Ablations: effects of a method's options, and the best setting."""
