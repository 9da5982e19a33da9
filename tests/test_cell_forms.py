"""What is written back looks like the file that was read: its words, digits, dates, gaps and columns."""

import numpy as np
import pandas as pd
import pytest

from lowerbound.cli.writing import write_frame, write_observations
from lowerbound.data import load
from lowerbound.data.forms import as_written, of_iso_dates, of_numbers, of_truths
from lowerbound.data.frames import read_frame_file
from lowerbound.data.schema import decode


def rows(*cells, count=40):
    """A column of these cells, over and over."""
    return [cells[i % len(cells)] for i in range(count)]


COLUMNS = [
    rows("FALSE", "TRUE"),
    rows("false", "true", ""),
    rows("no", "yes", "?"),
    rows("1.50", "2.25", "3.00"),
    rows("1.5", "2", "3.25"),
    rows("12", "NA", "14", "19"),
    rows("1.5", "NA", "2.5", "7.5"),
    rows("31.12.2023", "01.01.2024", "05.06.2024"),
    rows("12/31/2023", "01/01/2024", "n/a"),
    rows("2023-12-31", "2024-01-01"),
    rows("2023/12/31", "2024/01/01"),
    rows("2023-12-31T10:00", "2024-01-01T11:30"),
    rows("2023-12-31T10:00:00Z", "2024-01-01T11:30:05Z"),
    rows("2023-12-31 10:00:00.125", "2024-01-01 11:30:05.250"),
    rows("2023-12-31 00:00:00", "2024-01-01 00:00:00"),
]


@pytest.mark.parametrize("cells", COLUMNS, ids=lambda cells: "|".join(cells[:3]))
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_file_that_is_read_and_written_is_the_same(tmp_path, cells, separator):
    text = f"n{separator}c\n" + "".join(f"{i}.5{separator}{cell}\n" for i, cell in enumerate(cells))
    (tmp_path / "a.csv").write_text(text)
    frame, _ = read_frame_file(tmp_path / "a.csv")
    write_frame(tmp_path / "b.csv", frame, frame.attrs["forms"], frame.attrs["file"])
    assert (tmp_path / "b.csv").read_text() == text


@pytest.mark.parametrize("cells", [["1.234,50", "2.000,25"], ["0,5", "1,25"], ["1,5", "2"]])
def test_decimal_commas_come_back(tmp_path, cells):
    text = "n;c\n" + "".join(f"w{i};{cell}\n" for i, cell in enumerate(rows(*cells)))
    (tmp_path / "a.csv").write_text(text)
    frame, _ = read_frame_file(tmp_path / "a.csv")
    assert frame["c"].dtype == float
    write_frame(tmp_path / "b.csv", frame, frame.attrs["forms"], frame.attrs["file"])
    assert (tmp_path / "b.csv").read_text() == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_letters_are_those_of_the_file(tmp_path, encoding):
    text = "größe,c\n" + "".join(f"{i}.5,{'ä' if i % 2 else 'ö'}\n" for i in range(40))
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    frame, _ = read_frame_file(tmp_path / "a.csv")
    write_frame(tmp_path / "b.csv", frame, frame.attrs["forms"], frame.attrs["file"])
    assert (tmp_path / "b.csv").read_bytes() == text.encode(encoding)


def test_rows_that_are_made_look_like_the_file(tmp_path):
    """With columns that are no part of x in their places, and new identifiers."""
    rng = np.random.default_rng(0)
    head = "id,weight,on,note,joined,rating,country"
    lines = [
        f"K{i:05},{'?' if i % 9 == 0 else f'{rng.normal(70, 9):.1f}'},{'TRUE' if i % 3 else 'FALSE'},"
        f"words {rng.random()} {i} of row,{i % 28 + 1:02}.{i % 12 + 1:02}.2023,{rng.normal(343, 4):.9f},DE"
        for i in range(60)
    ]
    (tmp_path / "a.csv").write_text("\n".join([head, *lines]) + "\n")
    data = load(tmp_path / "a.csv")
    x = next(iter(data.all.batches(60)))[0]
    write_observations(tmp_path / "b.csv", x, data.spec)
    before, after = (
        pd.read_csv(tmp_path / name, dtype=str, keep_default_na=False) for name in ("a.csv", "b.csv")
    )
    assert list(before.columns) == list(after.columns)
    for column in ("weight", "on", "joined", "country"):
        assert sorted(after[column]) == sorted(before[column])
    assert after["id"].tolist() == [f"K{i:05}" for i in range(60, 120)]
    assert (after["note"] == "").all()
    assert after["rating"].str.len().max() <= len("343.5959")


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_numbers_have_no_digits_that_float32_made(offset):
    values = offset + np.random.default_rng(0).normal(343, 4, 300)
    data = load(pd.DataFrame({"v": values, "w": values[::-1]}))
    x = next(iter(data.all.batches(300)))[0]
    back = decode(data.spec.table, x.numpy())["v"]
    assert back.map(repr).str.len().max() <= len("343.5959") + 5 * bool(offset)
    assert np.abs(np.sort(back) - np.sort(values)).max() < 1e-4


def test_identifiers_count_on_as_they_are_numbered():
    frame = pd.DataFrame(
        {"id": np.arange(100, 140), "uuid": [f"{i:x}-{i * 7919 % 97:x}z" for i in range(40)]}
    )
    frame["y"] = np.random.default_rng(0).normal(size=40)
    table = load(frame).spec.table
    made = decode(table, np.zeros((3, 1)), aside=True)
    assert made["id"].tolist() == [140, 141, 142]
    assert made["uuid"].isna().all()
    assert list(decode(table, np.zeros((3, 1)))) == ["y"]


def test_forms():
    assert of_truths(["TRUE"]) == "FALSE/TRUE"
    assert of_truths(["True", "False"]) is None
    assert of_numbers(["1.25", "2.50"]) == "0.00"
    assert of_numbers(["1.25", "2.5"]) is None
    assert of_numbers(["1e-5", "2"]) is None
    assert of_iso_dates("2024-01-31T10:00:00+02:00") == "%Y-%m-%dT%H:%M:%S+00:00"
    assert of_iso_dates("31.1.2024") is None
    gone = as_written(pd.DataFrame({"a": [None, None]}), {"a": ("0.00", "?")})
    assert gone["a"].tolist() == ["?", "?"]
