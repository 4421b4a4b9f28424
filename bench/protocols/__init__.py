"""Protocols: ways to judge an encoder on a data set."""
