"""Version of the code that computes test scores from predictions."""

METRIC_CODE = 1
"""Raise it whenever the same predictions give another number: in `bench.protocols.selection`, `ledger`,
`segmentation_metrics`, or where a protocol scores its test split.

Every run stores the version that it was scored by; ``bench db rescore`` scores stored predictions with today's. No
module of a protocol imports this one, so that raising it does not make trained results old.
"""
