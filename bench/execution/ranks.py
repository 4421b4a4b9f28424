"""Ranks of a pretraining job: processes forked from its worker.

The worker is the first rank. It forks the others before it has a thread or a CUDA context, and they wait. Once it has
its data and teacher features, it lets them begin: they read the same data from the caches, build the same network and
train their share of every batch. The first rank alone locks, reports and stores.

A rank that ends too early ends all: the first one notices by the closed connection, or after `_GRACE` seconds at the
latest, and the others follow when the first is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from bench.errors import BenchError, SetupError
from bench.execution.seats import VISIBLE, visible
from bench.models.ranks import Ranks
from bench.signals import INTERRUPTED
from bench.spec import PretrainSpec, RanksSpec

_GRACE = 20.0
"""Seconds that the first rank has to notice, by itself, that another has ended."""
_PATIENCE = timedelta(minutes=30)
"""Longest wait for another rank, which may be reading data or measuring losses."""
_HOST = "127.0.0.1"
LOST = 75
"""Exit code of a rank that ends because another did."""


class OtherRank:
    """This process, if it is not the first rank.

    Attributes:
        rank: Its number, from 1.
    """

    def __init__(self, rank: int, port: int, begin: int, tell: int, first: int) -> None:
        self.rank = rank
        self._port = port
        self._begin = begin
        self._tell = tell
        threading.Thread(target=_follow, args=(first,), daemon=True).start()

    def begins(self) -> bool:
        """Wait for the first rank; return whether there is something to train."""
        return bool(os.read(self._begin, 1))

    def join(self, spec: PretrainSpec) -> Ranks:
        """Connect with the other ranks."""
        return connected(spec, self.rank, _store(self._port))

    def tell(self, line: str) -> None:
        """Tell the first rank why this one fails."""
        os.write(self._tell, line.encode())


class FirstRank:
    """The worker of a job with several ranks.

    Attributes:
        devices: Device of every rank once they are connected, for the provenance.
    """

    def __init__(self, listener: socket.socket, others: dict[int, tuple[int, int, int]]) -> None:
        self.devices: list[str] = []
        self.count = 1 + len(others)
        self._listener = listener
        self._others = others  # by rank: process, where to write to begin, where to read why it failed
        self._codes: dict[int, int] = {}
        self._give_up: Callable[[str], None] | None = None
        self._ends = threading.Event()
        self._watches = [threading.Thread(target=self._watch, args=(rank,), daemon=True) for rank in others]
        for watch in self._watches:
            watch.start()

    def join(self, spec: PretrainSpec, give_up: Callable[[str], None]) -> Ranks:
        """Let the other ranks begin, and connect with them.

        Args:
            spec: The pretraining.
            give_up: Called in another thread, with a reason, where this rank does not notice that one has ended; it
                ends this process.

        Raises:
            SetupError: There are fewer GPUs than ranks.
            BenchError: One has ended already.
        """
        import torch

        if spec.numerics.device == "cuda" and torch.cuda.device_count() < self.count:
            raise SetupError(
                f"--gpus {self.count}: {torch.cuda.device_count()} GPU(s) are visible here; ask for fewer, or use "
                "--device cpu"
            )
        self._give_up = give_up
        for _, begin, _ in self._others.values():
            with suppress(BrokenPipeError):
                os.write(begin, b"!")
        if ended := [rank for rank, code in self._codes.items() if code]:
            raise BenchError(self._reason(ended[0]))
        store = _store(self._listener.getsockname()[1], self._listener.detach())
        ranks = connected(spec, 0, store)
        self.devices = ranks.devices
        return ranks

    def reason(self) -> str:
        """Say which rank ended first, and why."""
        until = time.monotonic() + _GRACE / 2
        while time.monotonic() < until:
            if guilty := [rank for rank, code in self._codes.items() if code not in (0, INTERRUPTED, LOST)]:
                return self._reason(guilty[0])
            time.sleep(0.05)
        return f"the connection between the {self.count} ranks broke; {_AGAIN}"

    def end(self, *, now: bool) -> None:
        """End the other ranks: at once, or when they are done."""
        for rank, (process, begin, _) in self._others.items():
            os.close(begin)
            if now and rank not in self._codes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self._ends.set()
        for watch in self._watches:
            watch.join(timeout=_GRACE)

    def _watch(self, rank: int) -> None:
        """Wait for a rank's end; end everything if that is not noticed."""
        _, status = os.waitpid(self._others[rank][0], 0)
        code = self._codes[rank] = os.waitstatus_to_exitcode(status)
        if code in (0, INTERRUPTED, LOST):
            return
        if not self._ends.wait(_GRACE) and self._give_up is not None:
            for process, _, _ in self._others.values():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self._give_up(self._reason(rank))

    def _reason(self, rank: int) -> str:
        told = self._others[rank][2]
        os.set_blocking(told, False)
        with suppress(BlockingIOError):
            if line := os.read(told, 1 << 16).decode(errors="replace"):
                return f"rank {rank} of {self.count}: {line}"
        code = self._codes[rank]
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"rank {rank} of {self.count} (process {self._others[rank][0]}) {how}, and all stopped; {_AGAIN}"


_AGAIN = "run the same command again, it goes on from the last checkpoint"


def fork_ranks(count: int) -> FirstRank | OtherRank:
    """Fork the other ranks of this worker; return which one this process is.

    The process may have no other thread and no CUDA context.
    """
    listener = socket.create_server((_HOST, 0))
    port, first = listener.getsockname()[1], os.getpid()
    others: dict[int, tuple[int, int, int]] = {}
    for rank in range(1, count):
        begin, begins = os.pipe()
        told, tells = os.pipe()
        process = os.fork()
        if process == 0:
            listener.close()
            for _, other_begins, other_told in others.values():
                os.close(other_begins)
                os.close(other_told)
            os.close(begins)
            os.close(told)
            _take_gpu(rank)
            return OtherRank(rank, port, begin, tells, first)
        os.close(begin)
        os.close(tells)
        others[rank] = process, begins, told
    return FirstRank(listener, others)


def _take_gpu(rank: int) -> None:
    """Make one GPU visible: that of the rank, where there are enough."""
    import torch

    every = visible(os.environ.get(VISIBLE), torch.cuda.device_count())
    if rank < len(every):
        os.environ[VISIBLE] = every[rank]


def _store(port: int, listener: int | None = None) -> Any:
    """Return the store of torch, through which the ranks find each other.

    Args:
        port: Port of the first rank.
        listener: Descriptor of the socket that listens there, on the first rank.
    """
    from torch import distributed

    return distributed.TCPStore(  # type: ignore[attr-defined]
        _HOST,
        port,
        is_master=listener is not None,
        timeout=_PATIENCE,
        wait_for_workers=False,
        master_listen_fd=listener,
    )


def connected(spec: PretrainSpec, rank: int, store: Any) -> Ranks:
    """Connect this process with the other ranks.

    Args:
        spec: The pretraining.
        rank: Number of this process.
        store: See `_store`.
    """
    import torch
    from torch import distributed

    assert isinstance(spec.ranks, RanksSpec)
    cuda = spec.numerics.device == "cuda"
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:  # a machine's name need not lead to an address
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=spec.ranks.count, timeout=_PATIENCE
    )
    ranks = Ranks(spec.ranks, rank, distributed.group.WORLD)
    devices: list[Any] = [None] * spec.ranks.count
    distributed.all_gather_object(devices, torch.cuda.get_device_name() if cuda else "cpu")
    ranks.devices = devices
    return ranks


def _follow(first: int) -> None:
    """End this process, which keeps nothing, soon after the first rank."""
    while os.getppid() == first:
        time.sleep(1.0)
    os._exit(LOST)
