"""Stored runs named, paired and compared object by object; nothing is run, and no torch is needed."""
