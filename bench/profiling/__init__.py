"""Measure pretraining steps, one process per path.

Every process takes the training loop's own step.
"""
