"""Text clouds: coordinates by name, every row and field counted, and each fault with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data.cloudfiles import read_cloud
from bench.errors import DataError

P = np.round(np.random.default_rng(1).normal(size=(12, 3)), 4)
UNIT = P / np.linalg.norm(P, axis=1, keepdims=True)
GREY = np.full((12, 3), 128)
INDEX = np.arange(12)[:, None]
LABEL = np.full((12, 1), 3)


def rows(*columns: np.ndarray, between: str = ",", digits: str = ".9g") -> str:
    table = np.concatenate([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
    return "\n".join(between.join(f"{v:{digits}}" for v in row) for row in table) + "\n"


def read(folder: Path, content: str | bytes, name: str = "a.csv") -> np.ndarray:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_cloud(path)


def refusal(folder: Path, content: str | bytes) -> str:
    with pytest.raises(DataError) as error:
        read(folder, content)
    line = str(error.value)
    assert line.startswith(f"{folder / 'a.csv'}: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "content",
    [
        ",x,y,z\n" + rows(INDEX, P),
        "label,x,y,z\n" + rows(LABEL, P),
        "Z;Y;X\n" + rows(P[:, ::-1], between=";"),
        '"","X [m]","Y [m]","Z [m]"\n' + rows(INDEX, P),
        "\ufeff'x' , 'y' , 'z'\n" + rows(P),
        "//X Y Z R G B\n" + rows(P, GREY, between=" "),
        "# made by foo\n# intensity x y z\n" + rows(LABEL, P, between=" "),
        "# x y z\n" + rows(P),
        "x y z\n" + rows(P),
        "# turned about the x y z axes\n" + rows(P),
        "x (mm)\ty (mm)\tz (mm)\tname\n" + rows(P, between="\t").replace("\n", "\tcup #1\n"),
        "name,x,y,z\n" + rows(P).replace("\n", '\n"cup, red",')[:-11].join(['"cup, red",', ""]),
        "12\n" + rows(P, between=" "),
        rows(P, UNIT, between=" "),
        rows(P, GREY),
        rows(P, UNIT, LABEL, between="  "),
        rows(P).replace("\n", "\r\n"),
        "# Gr\u00f6\u00dfe\n".encode("latin-1") + rows(P).encode(),
    ],
)
def test_coordinates_are_taken_by_name_and_only_from_known_orders(tmp_path: Path, content: str | bytes) -> None:
    """A pandas index or a label taken for x trains on nonsense, and nothing says so."""
    assert np.array_equal(read(tmp_path, content), P.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("0,1,2\n" + rows(P), "line 1 is '0,1,2', which looks like column numbers that pandas wrote"),
        ("0.0 1.0 2.0\n" + rows(P, between=" "), "line 1 is '0.0 1.0 2.0', which looks like column numbers"),
        (",0,1,2\n" + rows(INDEX, P), "line 1: field 1 is empty"),
        ("V1,V2,V3\n" + rows(P), "line 1 is 'V1,V2,V3', expected numbers, or a heading that names x, y and z once"),
        ("x,y,z,x\n" + rows(P, LABEL), "names x, y and z once"),
        ("x,y\n" + rows(P), "names x, y and z once"),
        ("x,y,z\n" + rows(P, LABEL), "line 2 has 4 fields, the heading 'x,y,z' has another number"),
        (rows(INDEX, P), "the first column holds the numbers of the rows, which looks like an index or a label"),
        (rows(LABEL, P), "the first column holds whole numbers only"),
        (rows(INDEX + 1, P[:, :2]), "the numbers of the rows"),
        (rows(P, P[:, :1]), "line 1: 4 columns without names"),
        (rows(P, P), "line 1: 6 columns without names"),
        (rows(P, GREY, P[:, :1]), "line 1: 7 columns without names"),
        ("# all x y z, and normals\n" + rows(P, UNIT), "line 1 may name the columns"),
        ("# columns x y z and normals\n" + rows(P, UNIT), "line 1 may name the columns"),
        ("# z y x\n" + rows(P) + "# x y z\n" + rows(P), "line 14 names other columns"),
        (rows(P, between=";").replace(".", ","), "line 1: field 1 is"),
        (rows(P, between=" ").replace(".", ","), "commas"),
        (rows(np.abs(P) * 10).replace(".", ","), "may be 6 numbers, or 3 with decimal commas"),
        ("14\n" + rows(P), "line 1 announces 14 points, 12 rows were found"),
        ("1.0,abc,3.0\n" + rows(P), "line 1: field 2 is 'abc', expected a number"),
        ("nan,nan,nan\n" + rows(P), "line 1: field 1 is 'nan', expected a finite number"),
        ("a b c\n" + rows(P, between=" "), "line 1 is 'a b c', expected numbers, or a heading"),
        (rows(P) + "1,2,3 # note\n", "line 13: field 3 is '3 # note'"),
        (("x,y,z\n" + rows(P)).encode("utf-16"), "is UTF-16"),
        (rows(P * 1e-30), "the points span only"),
        (rows(P) + "0,1e13,0\n", "line 13: field 2 is 1e13, expected at most 1e+12"),
    ],
)
def test_what_could_mean_several_things_is_refused(tmp_path: Path, content: str | bytes, words: str) -> None:
    assert words in refusal(tmp_path, content)


DAMAGE = st.sampled_from(
    [
        *("", "nan", "-inf", "1,5", "1.234,5", "1_000", "1e999", "0x1F", "1.0D+00", "--1", "1.2.3", "1+2j", "abc"),
        *("1 2", "\u22121", "\uff11", "1e", "'", "1#", "1/2", "1.0f", "True"),
    ]
)
BETWEEN = st.sampled_from([",", ";", "\t", " "])
NAMES = ["x", "y", "z", "intensity", "label"]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(names=st.permutations(NAMES), between=BETWEEN, head=st.sampled_from(["", "# ", "//"]), data=st.data())
def test_columns_in_any_order_come_back(
    tmp_path: Path, names: list[str], between: str, head: str, data: st.DataObject
) -> None:
    number = st.floats(-1e9, 1e9, allow_nan=False)
    table = np.array(data.draw(st.lists(st.tuples(*[number] * 5), min_size=3, max_size=8)))
    at = [names.index(axis) for axis in "xyz"]
    table[0, at] += 1000  # an extent
    body = "\n".join(between.join(repr(float(v)) for v in row) for row in table)
    found = read(tmp_path, head + between.join(names).upper() + "\n" + body)
    wanted = table[:, at]
    shift = (found - wanted).mean(axis=0)
    assert np.abs(found - wanted - shift).max() <= 1e-5 * np.ptp(wanted, axis=0).max()


@QUICK
@given(between=BETWEEN, named=st.booleans(), row=st.integers(0, 11), column=st.integers(0, 2), damage=DAMAGE)
def test_damage_of_one_field_is_named_with_its_line(
    tmp_path: Path, between: str, named: bool, row: int, column: int, damage: str
) -> None:
    """A row that is skipped, shifted or read as a heading leaves a wrong cloud behind."""
    fields = [[repr(float(v)) for v in values] for values in P]
    fields[row][column] = damage
    lines = [between.join("xyz")] * named + [between.join(values) for values in fields]
    assert f"line {row + 1 + named}" in refusal(tmp_path, "\n".join(lines) + "\n")
