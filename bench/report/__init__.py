"""Make tables, plots and files from stored results.

Nothing here trains or imports torch.
"""
