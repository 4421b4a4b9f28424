"""One training loop for pretraining and fine-tuning.

Schedule, optimiser groups, precision, checkpoints and resuming.
"""
