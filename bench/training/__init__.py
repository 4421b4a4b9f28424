"""One training loop for pretraining and fine-tuning: schedule, optimiser groups, precision, checkpoints, resume."""
