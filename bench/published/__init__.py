"""Figures and claims of the literature, each with its source."""
