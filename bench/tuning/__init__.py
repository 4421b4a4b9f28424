"""Search for hyperparameters, scored on validation only (``bench tune``)."""
