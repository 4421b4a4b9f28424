"""Analyses of encoders: pictures, their numbers and their origin."""
