"""Frozen image and text networks, and the cache of features.

Their features are targets of pretraining.
"""
