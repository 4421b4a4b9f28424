"""Encoder with a classification head, for fine-tuning and probes."""

from __future__ import annotations

from torch import Tensor, nn

from bench.models.encoder import Encoder
from bench.models.heads import HeadKind, classification_head
from bench.models.roles import in_head_group


class Classifier(nn.Module):
    """An encoder with a classification head on one feature."""

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        head: HeadKind = "mlp",
        feature: str = "transfer",
        dropout: float = 0.5,
    ) -> None:
        """Put a fresh head on an encoder.

        Args:
            encoder: Shared with the caller, not copied.
            classes: Number of logits.
            head: Kind of head.
            feature: Name of the encoder's feature.
            dropout: Rate inside the ``mlp`` head.
        """
        super().__init__()
        self.encoder = encoder
        self.feature = feature
        self.head = classification_head(head, encoder.feature_dims[feature], classes, dropout)
        self._frozen = False
        self.requires_grad_(True)

    def freeze(self, *, reference: bool = False) -> Classifier:
        """Freeze the encoder, so that only the head learns.

        Args:
            reference: Freeze as the released probes do: the class token and its position learn too, and the frozen
                backbone stays in train mode (BatchNorm uses and updates batch statistics, stochastic depth is on).

        Returns:
            This model.

        Source: docs/reference.md#linear-and-mlp-probes.
        """
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(in_head_group(name) if reference else name.startswith("head."))
        return self if reference else self.keep_evaluating()

    def keep_evaluating(self) -> Classifier:
        """Keep the encoder in evaluation mode from now on; return this model."""
        self._frozen = True
        return self.train(self.training)

    @property
    def evaluates(self) -> bool:
        """Whether the encoder stays in evaluation mode."""
        return self._frozen

    def train(self, mode: bool = True) -> Classifier:
        """Switch the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def forward(self, points: Tensor) -> Tensor:
        """Classify clouds ``[B, N, 3]`` into logits ``[B, classes]`` (float32)."""
        logits: Tensor = self.head(self.encoder.feature(self.encoder(points), self.feature))
        return logits.float()
