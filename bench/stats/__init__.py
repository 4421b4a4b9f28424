"""Statistics of stored results: intervals, comparisons, cells, accuracy gate.

No torch.
"""
