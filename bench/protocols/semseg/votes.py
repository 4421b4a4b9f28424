"""Label whole rooms by summing the answers of sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data.base import Room
from bench.models.segmentation import PartSegmenter
from bench.progress import Progress
from bench.protocols.segmentation_training import log_probabilities
from bench.protocols.semseg.blocks import Index, Points, RoomGrid, window_batches, windows
from bench.seeds import numpy_stream
from bench.spec import Numerics

Labels = npt.NDArray[np.uint8]
Vote = Literal["probability", "label"]

CHUNK = 1024
"""Blocks whose answers are held at once."""


def room_blocks(room: Room, grid: RoomGrid, points: int, vote: int, seed: int) -> tuple[Points, Index]:
    """Cut a room into blocks that cover every point, seeded.

    Args:
        room: The room.
        grid: Its points, sorted.
        points: Points of a block.
        vote: Number of the deal, from 0.
        seed: Root seed of the deals.

    Returns:
        Coordinates ``[b, points, 3]`` and the rows ``[b, points]`` of the room they are; every row occurs.
    """
    rng = numpy_stream(seed, "split", "votes", room.name, vote)
    blocks: list[Points] = []
    rows: list[Index] = []
    for x, y, column in windows(grid):
        dealt = window_batches(column, points, rng)
        rows.append(dealt)
        blocks.append(grid.relative(dealt, x, y))
    return np.concatenate(blocks), np.concatenate(rows)


def label_rooms(
    segmenter: PartSegmenter,
    rooms: Sequence[Room],
    points: int,
    classes: int,
    votes: int,
    vote: Vote,
    seed: int,
    numerics: Numerics,
    report: Progress,
) -> list[Labels]:
    """Label every point of whole rooms by voting over windows.

    Args:
        segmenter: The network.
        rooms: The rooms; their labels are not used.
        points: Points of a block.
        classes: Number of classes C.
        votes: Number of random partitions of each window into blocks.
        vote: Summed quantity: probabilities, or one vote for the likeliest class.
        seed: Root seed of the deals.
        numerics: Device and precision.
        report: Called with (rooms done, rooms).

    Returns:
        Per room the class of each point ``[n]``; of classes that are level the first.
    """
    labelled: list[Labels] = []
    for number, room in enumerate(rooms):
        report(number, len(rooms))
        grid, sums = RoomGrid(room.points), torch.zeros(len(room.points), classes, dtype=torch.float64)
        for deal in range(votes):
            blocks, rows = room_blocks(room, grid, points, deal, seed)
            for start in range(0, len(rows), CHUNK):
                part = slice(start, start + CHUNK)
                answers = _answers(segmenter, blocks[part], classes, vote, numerics)
                sums.index_add_(0, torch.from_numpy(rows[part].ravel()), answers.flatten(0, 1).double())
        labelled.append(np.asarray(sums.argmax(1).numpy(), dtype=np.uint8))
    report(len(rooms), len(rooms))
    return labelled


def _answers(segmenter: PartSegmenter, blocks: Points, classes: int, vote: Vote, numerics: Numerics) -> Tensor:
    """Return scores ``[b, N, C]`` of blocks ``[b, N, 3]``."""
    answers = torch.empty(*blocks.shape[:2], classes)

    def take(start: int, stop: int, found: Tensor) -> None:
        added = found.exp() if vote == "probability" else F.one_hot(found.argmax(-1), classes).float()
        answers[start:stop] = added.cpu()

    log_probabilities(segmenter, blocks, None, numerics, take)
    return answers
