"""Few-shot classification over folds, with frozen and trained heads."""

from bench.protocols.fewshot.protocol import FewShot as FewShot
