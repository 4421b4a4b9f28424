"""Measuring a pretraining step: one process per path, the training loop's own step in each."""
