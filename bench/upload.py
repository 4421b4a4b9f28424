"""Copy numbers that the CPU drew to the device that trains."""

from __future__ import annotations

from torch import Tensor, device


def upload(values: Tensor, where: device) -> Tensor:
    """Copy a tensor to a device without waiting for its work.

    A GPU runs behind the process that feeds it. A copy from ordinary memory waits until it has caught up; one from
    pinned memory queues behind the work that is there, so the process goes on.

    Args:
        values: Of any shape; on the CPU, or on the device already.
        where: The device.

    Returns:
        The same values there.
    """
    if where.type == "cpu" or values.device.type != "cpu":
        return values.to(where)
    return values.pin_memory().to(where, non_blocking=True)
