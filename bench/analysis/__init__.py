"""Analyses that the papers show: each is a picture, the numbers behind it, and where they come from."""
