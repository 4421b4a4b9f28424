"""If these fail, the numbers of a network that several GPUs trained are not those of one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks_of_methods import CASES, RECIPE
from torch import nn

from bench.errors import UsageError
from bench.models.ranks import Ranks
from bench.spec import RanksSpec
from bench.training.loop import share_of
from tests.conftest import bench_here

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).with_name("ranks_of_methods.py")
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_end_with_the_weights_of_one_process(case: str, outcomes: Path) -> None:
    """Sums over a batch are rounded otherwise in two parts, by 1e-7 of a number, and a training multiplies that.

    Seen after three steps: curves that differ by at most 4e-5 of a loss, weights by 3e-5, a step being 2e-3. Allowed is
    about four times as much; BatchNorm or negatives of one rank alone are off by ten times what is allowed, and more.
    """
    one, two = (torch.load(outcomes / f"{case}-{count}.pt") for count in (1, 2))
    assert one["samples"] == two["samples"] == RECIPE.epochs * RECIPE.batch_size
    assert two["curves"].keys() == one["curves"].keys()
    for name, values in one["curves"].items():
        assert two["curves"][name] == [(epoch, pytest.approx(value, rel=2e-4, abs=1e-6)) for epoch, value in values]
    moved = 0.0
    for name, weight in one["after"].items():
        assert torch.equal(one["before"][name], two["before"][name])
        torch.testing.assert_close(
            two["after"][name], weight, rtol=0, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )
        moved = max(moved, float((weight.double() - one["before"][name]).abs().max()))
    assert moved > 10 * 1e-4, "the weights have to move further than they may differ"


def test_a_killed_rank_ends_the_others_and_a_restart_goes_on(outcomes: Path) -> None:
    reason, seconds = (outcomes / "killed.txt").read_text().splitlines()
    assert re.fullmatch(
        r"rank 1 of 2 \(process \d+\) was killed by signal 9, and all stopped; run the same command again, it goes on "
        "from the last checkpoint",
        reason,
    )
    assert float(seconds) < 5
    continued, whole = (torch.load(outcomes / name) for name in ("continued.pt", "point-mae-2.pt"))
    assert continued["resumed"] == RECIPE.epochs - 1
    assert continued["curves"] == whole["curves"]
    assert all(torch.equal(weight, continued["after"][name]) for name, weight in whole["after"].items())


@pytest.mark.parametrize(("batch", "ranks"), [(7, 2), (8, 3), (8, 8), (2, 4)])
def test_a_batch_that_does_not_divide_is_refused(batch: int, ranks: int) -> None:
    with pytest.raises(UsageError, match=rf"a batch of {batch} objects .* does not divide among {ranks} ranks"):
        share_of(batch, ranks)
    assert share_of(8, 4) == 2


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), nn.Dropout2d(0.1)], ids=["Dropout", "Dropout2d"])
def test_dropout_is_refused(layer: nn.Module) -> None:
    """Every rank would drop other units than one process: the numbers would depend on the number of GPUs."""
    ranks = Ranks(RanksSpec(count=2), 0, None)
    network = nn.ModuleDict({"head": nn.Sequential(nn.Linear(3, 3), layer)})
    with pytest.raises(UsageError, match=rf"Sequential\.1 is a {type(layer).__name__}, whose draws depend on"):
        ranks.adopt(network)
    network.eval()
    ranks.adopt(network)  # it draws nothing
    ranks.adopt(nn.Sequential(nn.Dropout(0.0)))


def test_a_method_that_does_not_say_so_is_refused(tmp_path: Path) -> None:
    """A subclass may have a loss that couples objects of different ranks: its numbers would be silently wrong."""
    file = tmp_path / "own.py"
    file.write_text(
        "from bench.methods.point_mae import PointMAE\n\n\n"
        'class Own(PointMAE):\n    """A method of one\'s own."""\n\n    name = "own-ranks"\n'
    )
    done = bench_here(
        "run", "-m", "own-ranks", "-p", "linear", "--preset", "smoke", "--plugin", file, "--gpus", 2, "--dry-run",
        "--device", "cpu", "--results", tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "set several_gpus = True in class Own" in " ".join(done.stderr.split())
