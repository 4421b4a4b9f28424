"""Linear and MLP-3 probes as the releases train them.

Head, class token and its position are trained on clouds: docs/reference.md#linear-and-mlp-probes.
"""

from __future__ import annotations

from bench.models.heads import HeadKind
from bench.protocols.base import Evaluation, Subject, Task
from bench.protocols.published_data import data_rows
from bench.protocols.trained_classifier import Training, judge_trained
from bench.protocols.trained_options import PublishedTraining
from bench.recipes.downstream import released_training
from bench.recipes.row import shortened


def judge_published(
    protocol: str,
    head: HeadKind,
    subject: Subject,
    task: Task,
    options: PublishedTraining,
    feature: str,
    validation_fraction: float,
) -> Evaluation:
    """Train as the releases do; choose the epoch on validation.

    Raises:
        UsageError, DataError, BenchError, SetupError, Interrupted: See `judge_trained`.
    """
    published = released_training(protocol, subject.method, data_rows(task.dataset), points=task.points)
    training = Training(
        protocol=protocol,
        head=head,
        feature=feature,
        normalise=published.normalise,
        recipe=options.recipe or shortened(published.recipe, options.published_epochs),
        validation_fraction=validation_fraction,
        class_token_only=True,
        drop_path=published.drop_path,
        ledger=True,
    )
    result = judge_trained(subject, task, training)
    result.notes["published_recipe"] = "own" if options.recipe is not None else published.title
    return result
