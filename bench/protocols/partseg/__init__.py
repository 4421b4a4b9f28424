"""Part segmentation of objects."""

from bench.protocols.partseg.protocol import PartSegmentation as PartSegmentation
