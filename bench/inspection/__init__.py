"""Inspect data sets: check files, draw objects, find shared shapes."""
