"""Objects on which pretraining losses are measured.

Some of the test split, and as many that are trained on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bench.data.base import Dataset
from bench.errors import DataError
from bench.execution.pretrain_data import Gathering
from bench.seeds import numpy_stream
from bench.training.held_out import HELD_OUT, SEEN
from bench.training.pretraining import PretrainData

MEASURED = 256
"""Number of objects measured in each set; at least one whole batch."""


def measured_data(dataset: Dataset, trained: PretrainData, gathering: Gathering) -> dict[str, PretrainData]:
    """Return data for loss measurements, named as in `bench.training.held_out`.

    The held-out objects are the same for every method, seed and part of the data that is trained on. Nothing is chosen
    by what is measured, and texts of held-out objects do not count as read by the encoder.

    Args:
        dataset: Pretraining data; held out is its test split.
        trained: Training data.
        gathering: As pretraining's own data were gathered.

    Raises:
        DataError: The test split has fewer than two objects.
    """
    test = dataset.load("test")
    if len(test) < 2:
        raise DataError(
            f"{dataset.name} has {len(test)} test object(s) to measure held-out losses on, expected at least 2; leave "
            "out --held-out-losses, or pretrain on a data set with a test split"
        )
    recipe = gathering.spec.recipe
    wanted = max(MEASURED, recipe.batch_size if recipe is not None else 0)
    drawn = numpy_stream(0, "data", HELD_OUT).permutation(len(test))[:wanted]
    beside = numpy_stream(0, "data", SEEN).permutation(len(trained))[:wanted]
    again = replace(gathering, kept=None, texts=set(), costs={}, contents={})
    return {
        HELD_OUT: again.gather(test.subset(drawn.astype(np.int64))),
        SEEN: trained.part(torch.from_numpy(beside.astype(np.int64))).resident(gathering.limit),
    }
