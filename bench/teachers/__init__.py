"""Frozen image and text networks that supply targets, and the cache of their features."""
