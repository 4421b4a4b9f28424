"""Zip files of strangers: one line each, and nothing written."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sharing_runs import entries_of, write_zip

from bench.errors import BenchError
from bench.sharing import archive
from bench.sharing.archive import opened
from bench.sharing.checking import verify

RUN = f"runs/{'a' * 64}/{'b' * 16}"


def entry(name: str, content: bytes = b"{}", **changes: int) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    for field, value in changes.items():
        setattr(info, field, value)
    return info, content


def zipped(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for info, content in entries:
            made.writestr(info, content)
    return path


def patched(path: Path, *entries: tuple[zipfile.ZipInfo, bytes], old: bytes, new: bytes) -> Path:
    zipped(path, *entries)
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def claiming(path: Path, size: int) -> Path:
    """A bundle whose directory says that bundle.json has so many bytes."""
    zipped(path, entry("bundle.json"))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.rfind(b"PK\1\2") + 24, size)
    path.write_bytes(bytes(raw))
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "traversal": (lambda p: zipped(p, entry("../evil.json")), "no bundle holds an entry named '../evil.json'"),
    "traversal inside": (lambda p: zipped(p, entry(f"{RUN}/../../../x/spec.json")), "no bundle holds"),
    "absolute": (lambda p: zipped(p, entry("/etc/cron.d/bundle.json")), "no bundle holds"),
    "drive": (lambda p: zipped(p, entry("C:/bundle.json")), "no bundle holds"),
    "backslashes": (lambda p: zipped(p, entry("runs\\..\\..\\spec.json")), "no bundle holds"),
    "nul": (lambda p: patched(p, entry("bundle.json_x"), old=b"json_x", new=b"json\0x"), "no bundle holds"),
    "escape": (lambda p: zipped(p, entry("\x1b[31mred.json")), "no bundle holds"),
    "program": (lambda p: zipped(p, entry(f"{RUN}/run.py")), "no bundle holds"),
    "link": (
        lambda p: zipped(p, entry("bundle.json", b"/etc/passwd", create_system=3, external_attr=0o120777 << 16)),
        "symbolic link",
    ),
    "device": (lambda p: zipped(p, entry("bundle.json", external_attr=(stat.S_IFCHR | 0o666) << 16)), "a device"),
    "twice": (lambda p: zipped(p, entry("bundle.json"), entry("bundle.json")), "is there twice"),
    "run twice": (lambda p: zipped(p, entry(f"{RUN}/spec.json"), entry(f"{RUN}/spec.json")), "is there twice"),
    "encrypted": (
        lambda p: patched(p, entry("bundle.json"), old=b"PK\1\2\x14\3\x14\0\0\0", new=b"PK\1\2\x14\3\x14\0\1\0"),
        "is encrypted",
    ),
    "other packing": (lambda p: zipped(p, entry("bundle.json", b"{}" * 9, compress_type=zipfile.ZIP_LZMA)), "packed"),
    "claimed size": (lambda p: claiming(p, 2**31), "bytes, at most"),
    "smaller claim": (lambda p: claiming(p, 1), "damaged"),
    "bomb": (
        lambda p: zipped(p, entry("bundle.json", b" " * (30 << 20), compress_type=zipfile.ZIP_DEFLATED)),
        "unpacks to more than",
    ),
    "no zip": (lambda p: p.write_bytes(b"not a zip at all" * 99) and p, "no zip file"),
    "empty file": (lambda p: p.write_bytes(b"") or p, "no zip file"),
    "empty zip": (lambda p: zipped(p), "has no bundle.json"),
    "no JSON": (lambda p: zipped(p, entry("bundle.json", b"{")), "not what a bundle says"),
    "list": (lambda p: zipped(p, entry("bundle.json", b"[]")), "not what a bundle says"),
    "deep": (lambda p: zipped(p, entry("bundle.json", b"[" * 100_000)), "not what a bundle says"),
    "newer": (
        lambda p: zipped(p, entry("bundle.json", b'{"kind":"bundle","format":9,"runs":{},"files":{}}')),
        "a newer bench wrote it",
    ),
    "wrong types": (
        lambda p: zipped(p, entry("bundle.json", b'{"kind":"bundle","format":1,"runs":{"x":1},"files":{}}')),
        "not what a bundle says",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_zip_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    """A reviewer opens files of strangers."""
    make, message = HOSTILE[name]
    place = tmp_path / "inner" / "hostile.zip"
    place.parent.mkdir()
    with pytest.raises(BenchError) as caught:
        verify(make(place))
    text = str(caught.value)
    assert message in text, text
    assert caught.value.exit_code == 2
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 500
    assert sorted(tmp_path.rglob("*")) == [place.parent, place]


def test_too_many_entries_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of millions of entries would fill the memory before the first is looked at."""
    path = zipped(tmp_path / "many.zip", *(entry(f"{RUN[:-4]}{at:04x}/spec.json") for at in range(3000)))
    monkeypatch.setattr(archive, "MOST_ENTRIES", 2000)
    with pytest.raises(BenchError, match="3,000 entries, at most 2,000"):
        verify(path)
    monkeypatch.setattr(archive, "_DIRECTORY_BYTES", 100_000)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("read the directory"))
    with pytest.raises(BenchError, match="its directory has"):
        verify(path)


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    """A few bytes that a thousand entries share unpack to terabytes."""
    path = zipped(tmp_path / "shared.zip", entry("bundle.json", b"x" * 500), entry("requests.json", b"y" * 500))
    raw = bytearray(path.read_bytes())
    for at in (raw.find(b"PK\1\2"), raw.rfind(b"PK\1\2")):
        struct.pack_into("<I", raw, at + 20, 900)
        struct.pack_into("<I", raw, at + 24, 900)
    path.write_bytes(bytes(raw))
    with pytest.raises(BenchError, match="overlap"):
        verify(path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_one_line_or_findings(bundle: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever a transfer or a stranger did to the bytes, no traceback and no false approval of other numbers."""
    raw = bytearray(bundle.read_bytes())
    whole = bytes(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        kind = data.draw(st.sampled_from(("flip", "cut", "insert")))
        if kind == "flip":
            raw[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 200))]
        else:
            raw[at:at] = data.draw(st.binary(max_size=50))
    path = tmp_path / "damaged.zip"
    path.write_bytes(bytes(raw))
    try:
        found = verify(path, report=False)
    except BenchError as error:
        told = str(error)
    else:
        told = ""
    assert "\n" not in told
    if not told and found.holds:
        assert entries_of(path) == entries_of(bundle) or bytes(raw) == whole


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(max_size=30), max_size=4), content=st.binary(max_size=40))
def test_any_names_are_refused_or_known(tmp_path: Path, names: list[str], content: bytes) -> None:
    path = tmp_path / "any.zip"
    try:
        write_zip(path, dict.fromkeys([*names, "bundle.json"], content))
    except (ValueError, UnicodeError, IndexError):  # no name that a zip can hold
        return
    with pytest.raises(BenchError) as caught, opened(path) as found:
        found.page("report/index.html")
    assert "\n" not in str(caught.value)


def test_a_name_is_what_the_directory_says(tmp_path: Path) -> None:
    """The zip's directory and the entry itself may name different files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("bundle.json", "{}")
    path = tmp_path / "two-names.zip"
    path.write_bytes(stream.getvalue().replace(b"bundle.json", b"../evil.jsn", 1))
    with pytest.raises(BenchError, match="damaged"):
        verify(path)
