"""Retrieval across clouds, captions and pictures."""

from bench.protocols.retrieval.protocol import Retrieval as Retrieval
