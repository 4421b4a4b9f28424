"""Import, export and verification of released models."""
