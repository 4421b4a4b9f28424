"""``bench run --save-config``: the file and the line printed beside it give the same request, whole."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bench.cli.run import run
from bench.environment import quoted

Call = Callable[..., tuple[int, str, str]]
IN_FILE = {
    "method": ("--method", "act", "methods"),
    "encoder": ("--encoder", "mine", "encoders"),
    "protocol": ("--protocol", "svm", "protocols"),
    "dataset": ("--dataset", "shapes-cad", "datasets"),
    "pretrain_data": ("--pretrain-data", "shapes-cad", "pretrain_data"),
    "train_on": ("--train-on", "shapes-cad", "train_on"),
    "transfer": ("--transfer --dataset a --dataset b", None, "transfer"),
    "pretrain_fraction": ("--pretrain-fraction", "0.5", "pretrain_fractions"),
    "budget": ("--budget", "epochs", "budget"),
    "label_fraction": ("--label-fraction", "0.5", "label_fractions"),
    "match": ("--match", "flops", "match"),
    "preset": ("--preset", "tiny", "preset"),
    "seeds": ("--seeds", "3", "seeds"),
    "split_seeds": ("--split-seeds", "3", "split_seeds"),
    "setting": ("--setting", "5w10s", "settings"),
    "captions": ("--captions", "none", "captions"),
    "teacher": ("--teacher", "open-clip", "teacher"),
    "text_teacher": ("--text-teacher", "sentences", "text_teacher"),
    "live_teacher": ("--live-teacher", None, "live_teacher"),
    "held_out_losses": ("--held-out-losses", None, "held_out_losses"),
    "evaluate_at": ("--evaluate-at", "0.5,1", "evaluate_at"),
    "form": ("--form", "published", "form"),
    "corruptions": ("--corruptions", None, "corruptions"),
    "rotation": ("--rotation", "z/z,z/SO3", "rotations"),
    "legacy": ("--legacy", None, "legacy"),
    "assignments": ("--set", "recipe.lr=0.5", "overrides"),
    "baseline": ("--no-baseline", None, "baseline"),
    "device": ("--device", "cpu", "device"),
    "precision": ("--precision", "fp32", "precision"),
    "compile_": ("--compile", "off", "compile"),
    "threads": ("--threads", "3", "threads"),
    "gpus": ("--gpus", "2", "gpus"),
    "engine": ("--engine nowhere --plugin plugin.py", None, "engine"),
    "engine_config": ("--engine-config", "engine.yaml", "engine_config"),
    "plugin": ("--plugin", "plugin.py", "plugins"),
}
IN_LINE = {"reuse": ("--reuse", "same-spec"), "jobs": ("--jobs", "3"), "results": ("--results", "/tmp/a b")}
NOT_KEPT = {"config", "save_config", "dry_run", "verbose", "detach", "store_url"}
"""What is about this one command, and what may hold a password."""
PLUGIN = '''
"""A method."""
from bench.execution.engines import Engine
from bench.execution.local import LocalOptions
from bench.methods.point_mae import PointMAE

class Kept(PointMAE):
    """Point-MAE."""
    name = "kept-by-save-config"

class Nowhere(Engine[LocalOptions]):
    """An engine."""
    name = "nowhere"
    Options = LocalOptions

    def run(self):
        """Run nothing."""
'''


def test_every_option_has_its_place() -> None:
    """A new option of ``bench run`` is in the file, in the line, or left out on purpose."""
    assert {*IN_FILE, *IN_LINE} | NOT_KEPT == set(inspect.signature(run).parameters)


@pytest.mark.parametrize("option", [*IN_FILE, *IN_LINE])
def test_no_option_is_forgotten(option: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    name, value, *field = {**IN_FILE, **IN_LINE}[option]
    given = [*str(name).split(), *([value] if value is not None else [])]
    code, output, error = call("run", *given, "--save-config", "plain.yaml")
    assert (code, error) == (0, "")
    saved = yaml.safe_load((tmp_path / "plain.yaml").read_text())
    line = shlex.split(output.partition("run it with: ")[2])
    assert line[:4] == ["bench", "run", "--config", "plain.yaml"]
    if field:
        assert field[0] in saved
    else:
        assert quoted([str(name), str(value)]) in output
    code, _, error = call("run", "--config", "plain.yaml", "--save-config", "again.yaml")
    assert (code, error) == (0, "")
    assert yaml.safe_load((tmp_path / "again.yaml").read_text()) == saved
