"""Statistics over stored results: intervals, paired comparisons, cells and the accuracy gate. No torch."""
