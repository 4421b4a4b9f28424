"""The configuration of a cluster: what the page says of it, and times as SLURM writes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bench.errors import SetupError
from bench.execution.slurm import scheduler
from bench.execution.slurm.options import Resources, SlurmOptions, minutes
from bench.yamltext import parse_yaml
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_the_page_describes_every_field_and_its_example_is_taken() -> None:
    """A reader would copy an example that is refused, or miss a field."""
    block = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0]
    options = SlurmOptions.model_validate(parse_yaml(block))
    assert minutes(options.resources("encoder").time or 0) == 8 * 60
    teacher = options.resources("teacher")
    assert (teacher.partition, teacher.account, teacher.sbatch) == ("cpu", "my-project", {})
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(SlurmOptions.model_fields)
    assert set(Resources.model_fields) < named


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("90", 90), ("01:30:00", 90), ("1:30:00", 90), ("04:00:00", 240), ("90:30", 91), ("1-00:00:00", 1440),
        ("2-12", 3600),        ("1-06:30", 1830), ("0:30", 1),
    ],
)  # fmt: skip
def test_times_are_those_of_sbatch(written: str, expected: int) -> None:
    """YAML reads 1:30:00 as 5400: a limit of ninety minutes would be one of four days."""
    found = parse_yaml(f"time: {written}")
    assert isinstance(found, dict)
    assert minutes(SlurmOptions.model_validate(found).time or 0) == expected
    assert minutes(written) == expected


def test_without_slurm_the_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a laptop, or without the cluster's module, the error would be a missing file."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"not on PATH here \(sbatch, .*login node"):
        scheduler.require()


def test_other_numbers_of_yaml_stay_numbers() -> None:
    text = "{a: 12, b: -3.5, c: 1e3, d: 0x1f, e: .5, f: 1.5e-3, g: '1:2', h: true}"
    assert parse_yaml(text) == yaml.safe_load(text)
