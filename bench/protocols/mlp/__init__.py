"""MLP-3 probe on frozen features."""

from bench.protocols.mlp.protocol import Mlp as Mlp
