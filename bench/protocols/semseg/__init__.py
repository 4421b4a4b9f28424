"""Semantic segmentation of rooms."""

from bench.protocols.semseg.protocol import SemanticSegmentation as SemanticSegmentation
