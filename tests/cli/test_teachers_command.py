"""``bench teachers`` and ``bench list teachers``: which teacher can be used here, and what to do where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.teachers.foreign_toys import TIMM, timm_file

Call = Callable[..., tuple[int, str, str]]


def test_show_says_what_a_teacher_is(call: Call, tmp_path: Path) -> None:
    """Widths, weights and identity must be known before a long run, not read off its failure."""
    file = timm_file(tmp_path)
    code, out, _ = call(
        "teachers", "show", "timm", "--set", f"teacher.model={TIMM}", "--set", f"teacher.checkpoint={file}"
    )
    assert code == 0
    for words in ("ready: yes", f"weights: file {file}", "image features: 64", "text features: none", "identity: "):
        assert words in out
    assert "token transformer: 6 blocks, width 64, 2 heads" in out
    assert "not known here" in out
    code, out, _ = call(
        "teachers", "fit", "timm", "--set", f"teacher.model={TIMM}", "--set", f"teacher.checkpoint={file}"
    )
    assert code == 0, "there is nothing to fit, and that is no error"
    assert "image features: 64" in out


def test_show_says_which_command_provides_what_is_missing(call: Call) -> None:
    code, out, _ = call("teachers", "show", "open-clip")
    assert code == 0
    assert "ready: no: weights 'openai' of open_clip model 'ViT-B-32' are not on disk: run `bench teachers fit" in out
    code, out, _ = call("teachers", "show", "tiny-clip")
    assert "ready: no: run `bench teachers fit tiny-clip`, or let a run do it" in out
    assert "text features: 64" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["timmm"], "unknown teacher 'timmm': did you mean timm"),
        (["timm", "--set", "teacher.modle=x"], "unknown field of teacher 'modle': did you mean model"),
        (["timm", "--set", "teacher.model=vit_bass_patch16_224"], "unknown timm model 'vit_bass_patch16_224': did you"),
        (["timm", "--set", "teacher.checkpoint=/no/such.pth"], "/no/such.pth: cannot be read (No such file"),
        (["open-clip", "--set", "teacher.model=ViT-B-33"], "unknown open_clip model 'ViT-B-33': did you mean ViT-B-32"),
        (["open-clip", "--set", "teacher.lend=audio"], "teacher.lend = 'audio': input should be 'image' or 'text'"),
    ],
)
def test_slips_are_one_line(call: Call, arguments: list[str], line: str) -> None:
    code, _, error = call("teachers", "show", *arguments)
    assert code in (2, 4)
    lines = [text for text in error.splitlines() if text.strip()]
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert line in lines[0]
