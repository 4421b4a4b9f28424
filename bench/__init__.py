"""Benchmark harness for 3D point-cloud self-supervised learning."""

__version__ = "0.1.0"
