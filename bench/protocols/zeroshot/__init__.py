"""Zero-shot classification by class names."""

from bench.protocols.zeroshot.protocol import Zeroshot as Zeroshot
