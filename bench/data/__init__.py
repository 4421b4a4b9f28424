"""Data sets, one file or folder each; all return `CloudSet`."""
