"""Data sets: one file (or folder) each, all handing out `CloudSet`."""
