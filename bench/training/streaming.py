"""Rows of large arrays, moved to the device per step.

For arrays that exceed the memory of the device or of the host.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.rows import MappedRows, release, underlying
from bench.errors import DataError
from bench.upload import upload

Array = npt.NDArray[Any] | MappedRows


class StreamedRows:
    """Objects of an array on disk or in host memory.

    A step reads only the objects that it draws.

    Also a `bench.training.pretraining.FeatureSource`: with three or more axes, the second one holds the choices of an
    object.

    Args:
        array: ``[n, ...]``, memory-mapped or in memory; never written to.
        name: What it holds, for messages.
        device: Where rows are wanted.
        ahead: Whether a thread reads the next step's rows while this step is computed; None: unless the device is the
            CPU.

    Attributes:
        shape: Shape of the array.
        dtype: Type of the rows; floats of any width come as float32.
        device: Where rows are wanted.
    """

    def __init__(
        self, array: Array, name: str, device: torch.device | None = None, *, ahead: bool | None = None
    ) -> None:
        self.array = underlying(array)
        self.name = name
        self.device = device or torch.device("cpu")
        self.shape, self.ndim = tuple(array.shape), len(array.shape)
        self.nbytes = int(array.nbytes)
        self.choices: int | None = self.shape[1] if self.ndim > 2 else None
        self.width = int(self.shape[-1])
        self._thread = ThreadPoolExecutor(1) if (self.device.type != "cpu" if ahead is None else ahead) else None
        self._expected: tuple[npt.NDArray[np.int64], Future[Tensor]] | None = None

    def __len__(self) -> int:
        return int(self.shape[0])

    def to(self, device: torch.device) -> StreamedRows:
        """Return the same rows for another device."""
        return StreamedRows(self.array, self.name, device)

    def part(self, index: Tensor) -> StreamedRows:
        """Return some objects (int64 ``[m]``), without reading them."""
        rows, array = index.cpu().numpy(), self.array
        source, rows = (array.source, array.index[rows]) if isinstance(array, MappedRows) else (array, rows)
        return StreamedRows(MappedRows(source, rows), self.name, self.device)

    def everything(self) -> Tensor:
        """Read all rows into memory."""
        values = torch.from_numpy(np.array(self.array))
        self._release()
        return values

    def expect(self, index: Tensor) -> None:
        """Read the objects of the next step (int64 ``[B]``) ahead.

        A thread does so; on a CPU nothing happens.

        Where an object has several choices, the one of the next step is not known yet, so nothing is read ahead.
        """
        if self._thread is not None and self.choices in (None, 1):
            rows = index.cpu().numpy()
            self._expected = (rows, self._thread.submit(self._read, rows, None))

    def pick(self, index: Tensor, choice: Tensor | None = None) -> Tensor:
        """Return objects on the device.

        Whole rows ``[B, ...]``, or one choice of each.

        Args:
            index: int64 ``[B]``.
            choice: int64 ``[B]``, positions on the second axis; None for whole rows.

        Raises:
            DataError: A value is not finite.
        """
        rows = index.cpu().numpy()
        expected, self._expected = self._expected, None
        if expected is not None and np.array_equal(expected[0], rows):
            values = expected[1].result()
            values = values if choice is None else values[:, 0]
        else:
            values = self._read(rows, None if choice is None else choice.cpu().numpy())
        return upload(values, self.device)

    def _read(self, rows: npt.NDArray[np.int64], choice: npt.NDArray[np.int64] | None) -> Tensor:
        read = np.asarray(self.array[rows] if choice is None else self.array[rows, choice])
        self._release()
        values = torch.from_numpy(read)
        if values.is_floating_point():
            values = values.float()
            if not bool(torch.isfinite(values).all()):
                row = int(rows[int((~torch.isfinite(values.flatten(1)).all(1)).nonzero()[0])])
                raise DataError(
                    f"pretraining data: {self.name} of object {row} is not finite; remove or repair that object"
                )
        return values if self.device.type == "cpu" else values.pin_memory()

    def _release(self) -> None:
        release(self.array.source if isinstance(self.array, MappedRows) else self.array)
