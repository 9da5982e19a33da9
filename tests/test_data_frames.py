"""Files of tables: what is read from each kind of text, exactly, and what is refused with one bounded message."""

import bz2
import gzip
import io
import json
import lzma
import math
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import lowerbound as lb
from lowerbound.data import frames, load, load_like, spill, texts
from lowerbound.data.frames import TABLE_SUFFIXES, read_frame_file
from lowerbound.data.identity import difference, fingerprint
from lowerbound.data.rows import MappedRows
from lowerbound.errors import ConfigError, DataError


@pytest.fixture
def read(tmp_path):
    """Write a text into a file and read it as a table."""

    def read(text, name="t.csv", like=None):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_frame_file(path, like)

    return read


def cells(frame):
    """Columns as lists, None where a cell is missing."""
    return {name: [None if pd.isna(v) else v for v in frame[name]] for name in frame}


def refused(read, text, *said, name="t.csv", like=None):
    with pytest.raises(DataError) as caught:
        read(text, name, like)
    message = str(caught.value)
    assert len(message) < 700
    for part in said:
        assert part in message, message


# -- separators, signs, encodings


def test_semicolons_and_decimal_commas(read):
    frame, notes = read("temp;cur;vib\n62,299;20,732;0,213\n55,1;19,000;1\n")
    assert cells(frame) == {"temp": [62.299, 55.1], "cur": [20.732, 19.0], "vib": [0.213, 1.0]}
    assert notes == ["separator ';'", "columns 'temp', 'cur' and 'vib': read with decimal comma"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a\tb\n1,5\t2\n2,5\t3\n", {"a": [1.5, 2.5], "b": [2, 3]}),
        ("a|b\nx|2\ny|3\n", {"a": ["x", "y"], "b": [2, 3]}),
        ("a, b\nx, 2\ny, 3\n", {"a": ["x", "y"], "b": [2, 3]}),
        ('a, b\n"x, y", 2\ny, 3\n', {"a": ["x, y", "y"], "b": [2, 3]}),
        ('a,b\n"x, ""y""\nz",2\nu;v,3\n', {"a": ['x, "y"\nz', "u;v"], "b": [2, 3]}),
        ("  1.5  2\n 10   3\n", {"0": [1.5, 10], "1": [2, 3]}),
        ('18.0  8\t"a b"\n17.0  6\t"c d"\n', {"0": [18.0, 17.0], "1": [8, 6], "2": ["a b", "c d"]}),
        ("a\n1\n2\n\n\n", {"a": [1, 2]}),
        ("time\n2024-01-31 12:00\n2024-02-01 00:00\n",
         {"time": [pd.Timestamp(2024, 1, 31, 12), pd.Timestamp(2024, 2, 1)]}),
        ("sep=;\na;b\n1;2\n", {"a": [1], "b": [2]}),
        ("a,b\r1,2\r3,4", {"a": [1, 3], "b": [2, 4]}),
        ("id;genres\n1;a|b\n2;a\n3;c|d\n", {"id": [1, 2, 3], "genres": ["a|b", "a", "c|d"]}),
        ("id,text\n1,one\n2,two; three\n3,four; five\n",
         {"id": [1, 2, 3], "text": ["one", "two; three", "four; five"]}),
        ("\t\n1\t2\n", {"0": [None, 1], "1": [None, 2]}),
        ("a\tb\tc\n1\t\t3\n4\t5\t\n", {"a": [1, 4], "b": [None, 5], "c": [3, None]}),
    ],
)  # fmt: skip
def test_separators(read, text, columns):
    assert cells(read(text)[0]) == columns


def test_comment_lines_are_passed_over_and_said_and_can_name_the_columns(read):
    frame, notes = read("# made by hand\n#\n\na,b\n1,2\n")
    assert cells(frame) == {"a": [1], "b": [2]}
    assert notes == ["2 lines of comment at the top passed over"]
    frame, notes = read("# speed force\n1.5 2.5\n3.5 4.5\n")
    assert list(frame) == ["speed", "force"]
    assert "names of the columns are those in the last comment" in notes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(read, encoding):
    frame, notes = read("Größe,Ort\n1,Köln\n2,Zürich\n".encode(encoding))
    assert cells(frame) == {"Größe": [1, 2], "Ort": ["Köln", "Zürich"]}
    assert (notes != []) == (encoding in ("utf-16", "utf-32", "cp1252"))


def packed(data, kind):
    if kind == "zip":
        with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", data)
        return buffer.getvalue()
    if kind == "zst":
        pa = pytest.importorskip("pyarrow")
        with pa.CompressedOutputStream(sink := pa.BufferOutputStream(), "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    return {"": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind](data)


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz", "zip", "zst"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_packing_is_seen_in_the_bytes_not_in_the_name(read, kind, name):
    assert cells(read(packed(b"a,b\n1,x\n2,y\n", kind), name)[0]) == {"a": [1, 2], "b": ["x", "y"]}


def test_suffixes():
    assert {".csv", ".csv.gz", ".data.bz2", ".jsonl.xz", ".parquet", ".xlsx"} <= set(TABLE_SUFFIXES)
    assert ".parquet.gz" not in TABLE_SUFFIXES


# -- header and shape


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1,2\n3,4\n", ["0", "1"]),
        ("0,1\n3,4\n", None),
        ("a,b\n3,4\n", ["a", "b"]),
        ("id,2019,2020\n7,3,4\n", ["id", "2019", "2020"]),
        ("39,State-gov\n50,Private\n", ["0", "1"]),
        ("?,State-gov\n50,Private\n", ["0", "1"]),
        ("kind,name\nx,y\nx,z\n", ["kind", "name"]),
        ("kind,False\nother,\n", ["0", "1"]),
        ("kind,\nother,1\n", ["0", "1"]),
        ("x,x\ny,x\n", ["0", "1"]),
        ("x,y\ny,x\nx,z\n", ["0", "1"]),
        ("date,flag\n2024-01-31,TRUE\n2024-02-01,FALSE\n", ["date", "flag"]),
        ('"a",b \n1,2\n', ["a", "b"]),
    ],
)
def test_header_or_none(read, text, names):
    frame, notes = read(text)
    assert list(frame) == (names or ["0", "1"])
    assert ("no header" in "".join(notes)) == (names == ["0", "1"])
    assert len(frame) == text.count("\n") - (names != ["0", "1"])


def test_names_known_from_training_decide_whether_there_is_a_header(read):
    assert len(read("kind,name\n", like={"0": "text", "1": "text"})[0]) == 1
    assert list(read("kind,name\nkind,y\n", like={"kind": "text", "name": "text"})[0]) == ["kind", "name"]
    assert len(read("1,0,2\n", like={"0": "int64", "1": "int64", "2": "int64"})[0]) == 1


def test_rows_longer_than_the_header_are_refused_showing_both(read):
    refused(read, "temp,cur\n1,2,3\n4,5,6\n", "header has 2 cells", "its rows 3", "temp|cur", "1|2|3")
    refused(read, "a,b,c,d\n1,2,3\n4,5,6\n", "header has 4 cells", "its rows 3")
    refused(read, "measured in 2024\na;b;c\n1;2;3\n", "header has 1 cells and its rows 3")


@pytest.mark.parametrize("row", ["5", "5,6,7", '"5,6"'])
def test_a_row_of_another_length_is_refused_with_its_line(read, row):
    rows = ["1,2"] * 50_000
    rows[40_000] = row
    refused(read, "\n".join(["a,b", *rows]), "line 40002", "others have 2")


@pytest.mark.parametrize(
    "text", ["a,b\n1,2,\n3,4,\n", "a,b,\n1,2,\n3,4,\n", "a,b,\n1,2\n3,4\n", "1,2,\n3,4,\n"]
)
def test_separators_at_the_end_of_lines_are_no_column(read, text):
    frame, notes = read(text)
    assert frame.to_numpy().tolist() == [[1, 2], [3, 4]]
    assert list(frame) == (["a", "b"] if "a" in text else ["0", "1"])
    assert text == "a,b,\n1,2\n3,4\n" or "empty last column" in "".join(notes)


@pytest.mark.parametrize(
    "text",
    [
        ",a,b\n0,5,x\n1,6,y\n",
        "Unnamed: 0,a,b\n0,5,x\n1,6,y\n",
        "a b\n1 5 8\n2 6 9\n",
        '"","a","b"\n"7","5","x"\n"3","6","y"\n',
    ],
)
def test_a_first_column_that_numbers_rows_without_a_name_is_dropped(read, text):
    frame, notes = read(text)
    assert list(frame) == ["a", "b"]
    assert frame["a"].tolist() == [5, 6]
    assert "numbers the rows dropped" in "".join(notes)


def test_other_columns_without_a_name_are_kept(read):
    frame, notes = read(",a,\nx,5,1\ny,6,2\n")
    assert list(frame) == ["Unnamed: 0", "a", "Unnamed: 2"]
    assert "without a name in the header" in notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("# only\n", "empty"),
        ("a,b\n", "only a header"),
        ("a,b,a\n1,2,3\n", "several columns are called 'a'"),
        ('a,b\n1,"2\n3,4\n', "quotation mark"),
        ("a,b\n1,2\0\n", "bytes of zero"),
        ("a,b\n1,2\n".encode("utf-16-le"), "bytes of zero"),
    ],
)
def test_what_is_no_table_is_refused(read, text, said):
    refused(read, text, said)


# -- types


@pytest.mark.parametrize(
    ("texts", "dtype", "values"),
    [
        (["1", "-2", "+3"], "int64", [1, -2, 3]),
        (["1", "", "3"], "Int64", [1, None, 3]),
        (["1", "2.5"], "float64", [1, 2.5]),
        (["0.1", "123456789.123456789e-300"], "float64", [0.1, 123456789.123456789e-300]),
        (["1e5", ".5", "5.", "-inf"], "float64", [1e5, 0.5, 5.0, -math.inf]),
        (["9223372036854775807", "1"], "int64", [2**63 - 1, 1]),
        (["18446744073709551615", "1"], "uint64", [2**64 - 1, 1]),
        (["18446744073709551615", ""], "UInt64", [2**64 - 1, None]),
        (["99999999999999999999", "1"], "object", ["99999999999999999999", "1"]),
        (["12345678901234567", "", "0.5"], "object", ["12345678901234567", None, "0.5"]),
        (["12345678901234567", "", "1"], "Int64", [12345678901234567, None, 1]),
        (["007", "012"], "object", ["007", "012"]),
        (["0", "10"], "int64", [0, 10]),
        (["0x1F", "1"], "object", ["0x1F", "1"]),
        (["1_000", "2"], "object", ["1_000", "2"]),
        (["12", "13", "abc", "15"], "object", ["12", "13", "abc", "15"]),
        (["1", "NA", "?", "-", ".", "null", "N/A"], "Int64", [1, *[None] * 6]),
        (["1.5", "nan", "None"], "float64", [1.5, None, None]),
        (["None", "Scratch", "NA", "", "?"], "object", ["None", "Scratch", "NA", None, None]),
        (["", "", ""], "float64", [None, None, None]),
        (["None", "None"], "object", ["None", "None"]),
        (["true", "false"], "bool", [True, False]),
        (["TRUE", "NA", "False"], "boolean", [True, None, False]),
        (["yes", "no"], "object", ["yes", "no"]),
        (["True", "1"], "object", ["True", "1"]),
        (["12%", "13%"], "object", ["12%", "13%"]),
        (["12 kg", "13 kg"], "object", ["12 kg", "13 kg"]),
        (["2024-01-31", "", "2024-02-01"], "M", [pd.Timestamp(2024, 1, 31), None, pd.Timestamp(2024, 2, 1)]),
        (["2024-01-31T12:00:05.25", "NA"], "M", [pd.Timestamp("2024-01-31 12:00:05.25"), None]),
        (["2024-01-31 12:00:05+02:00", "2024-01-31 12:00:05Z"], "M",
         [pd.Timestamp("2024-01-31 10:00:05"), pd.Timestamp("2024-01-31 12:00:05")]),
        (["2024/01/31", "2024/02/01"], "M", [pd.Timestamp(2024, 1, 31), pd.Timestamp(2024, 2, 1)]),
        (["2024-01-31", "2024-02-31"], "object", ["2024-01-31", "2024-02-31"]),
        (["2024-01-31", "2024-01-31 12:00Z"], "object", ["2024-01-31", "2024-01-31 12:00Z"]),
        (["31.01.2024", "01.02.2024"], "M", [pd.Timestamp(2024, 1, 31), pd.Timestamp(2024, 2, 1)]),
        (["01/31/2024 10:30", "02/01/2024 11:00"], "M",
         [pd.Timestamp(2024, 1, 31, 10, 30), pd.Timestamp(2024, 2, 1, 11)]),
        (["01/02/2024", "03/04/2024"], "object", ["01/02/2024", "03/04/2024"]),
        (["13/01/2024", "01/13/2024"], "object", ["13/01/2024", "01/13/2024"]),
        (["20240131", "20240201"], "int64", [20240131, 20240201]),
    ],
)  # fmt: skip
def test_types_of_columns(read, texts, dtype, values):
    frame, notes = read("a;b\n" + "".join(f"{text};k\n" for text in texts))
    assert frame["a"].dtype.kind == dtype or frame["a"].dtype == dtype
    found = cells(frame)["a"]
    assert found == values
    assert [type(v) is str for v in found] == [type(v) is str for v in values]
    plain = dtype in ("int64", "float64", "bool", "Int64", "uint64", "UInt64") and "NA" not in texts
    if dtype == "object" and texts[0] not in ("yes", "True", "1_000", "0x1F"):
        assert len(notes) > 1, notes
    elif plain and "nan" not in texts and any(texts):
        assert notes[:1] == ["separator ';'"]
        assert len(notes) == 1


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('a,b\n"1,234.5",x\n"2,000.25",y\n', [1234.5, 2000.25]),
        ('a,b\n"1,234,567",x\n"12",y\n', [1234567, 12]),
        ('a,b\n"1,234",x\n"2,345",y\n', ["1,234", "2,345"]),  # thousands, or a decimal comma
        ("a;b\n1.234,5;x\n2.000,25;y\n", [1234.5, 2000.25]),
        ("a;b\n1.234.567;x\n12;y\n", [1234567, 12]),
        ("a;b\n1,234;0.5\n2,345;0.25\n", ["1,234", "2,345"]),
        ("a;b\n1.234;0,5\n2.345;0,25\n", ["1.234", "2.345"]),
        ("a;b\n1.234;x\n2.345;y\n", [1.234, 2.345]),
    ],
)
def test_marks_between_thousands_where_there_is_one_way_to_read_them(read, text, values):
    frame, notes = read(text)
    assert frame["a"].tolist() == values
    assert ("kept as words" in "".join(notes)) == isinstance(values[0], str)


def test_words_among_numbers_are_pointed_out(read):
    _, notes = read("a,b\n12,1\n13,2\nabc,3\n15,4\n")
    assert notes == [
        "column 'a': kept as words, for among its numbers are words, first 'abc' in row 2 (counted from 0) (1 cell)"
    ]


def test_missing_words_are_counted_over_columns(read):
    _, notes = read("a,b,c\n1,?,None\n?,2.5,x\n3,?,y\n")
    assert notes == [
        "columns 'a' and 'b': '?' read as missing (3 cells)",
        "column 'c': the word 'None' is a value, not a gap (1 cell)",
    ]


def test_columns_are_read_as_in_training(read):
    like = {"zip": "text", "x": "float64", "n": "int64", "on": "bool", "day": "datetime"}
    frame, _ = read("zip,x,n,on,day\n10115,1,2.0,1,2024-01-31\n,NA,,,\n", like=like)
    first = {"zip": "10115", "x": 1, "n": 2, "on": True, "day": pd.Timestamp(2024, 1, 31)}
    assert cells(frame) == {name: [value, None] for name, value in first.items()}
    assert [str(t).split("[")[0] for t in frame.dtypes] == [
        "object",
        "float64",
        "Int64",
        "boolean",
        "datetime64",
    ]
    frame, _ = read("n;x\n2,5;007\n3;1,25\n", like={"n": "int64", "x": "float64"})
    assert cells(frame) == {"n": [2.5, 3.0], "x": [7.0, 1.25]}
    with pytest.raises(ConfigError, match="integer"):
        read("a\n1\n", like={"a": "integer"})


@pytest.mark.parametrize(
    ("kind", "cell"), [("int64", "abc"), ("float64", "12,5"), ("bool", "2"), ("datetime", "13")]
)
def test_a_cell_of_another_type_than_in_training_is_named(read, kind, cell):
    good = {"int64": "1", "float64": "1.5", "bool": "true", "datetime": "2024-01-31"}[kind]
    rows = "\n".join([good, "NA", good, f'"{cell}"', good, f'"{cell}"'])
    refused(read, f"a\n{rows}\n", "column 'a', row 3", repr(cell), like={"a": kind})


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1.5", "\u22122.5", "3"], [1.5, -2.5, 3.0]),
        (["1", "\u22122", "-3"], [1, -2, -3]),
        (["1,5", "\u22122,5", "3,0"], [1.5, -2.5, 3.0]),
        (["1,000.5", "\u22122,000.5", "3.5"], [1000.5, -2000.5, 3.5]),
        (["1e-3", "\u22122e3", "NA"], [1e-3, -2000.0, None]),
    ],
)
def test_a_true_minus_is_one(read, texts, values):
    frame, notes = read("a;b\n" + "".join(f"{text};w\n" for text in texts))
    assert cells(frame)["a"] == values
    assert any("as minus" in note for note in notes)
    assert frame.attrs["forms"].keys() == {"a", "b"}


def test_words_with_a_true_minus_stay_words(read):
    frame, notes = read("a;b\n\u2212x;1\n\u22122;2\n")
    assert cells(frame)["a"] == ["\u2212x", "\u22122"]
    assert not any("as minus" in note for note in notes)


@pytest.mark.parametrize("texts", [["31.01.24", "01.02.24"], ["1/31/24", "2/1/24"], ["24-01-31", "24-02-01"]])
def test_dates_with_years_of_two_digits_are_not_guessed(read, texts):
    frame, notes = read("a;b\n" + "".join(f"{text};1\n" for text in texts))
    assert cells(frame)["a"] == texts
    assert any("like dates" in note and "2024-01-31" in note for note in notes)


def test_numbers_at_the_front_do_not_hide_what_comes_later(read, monkeypatch):
    """Files of numbers go to pandas' parser; what that loses sends them the other way."""
    rows = ["a,b", *[f"{i},{i}.5" for i in range(30_000)]]
    plain, notes = read("\n".join(rows))
    assert [str(t) for t in plain.dtypes] == ["int64", "float64"]
    assert notes == []
    for last, dtypes in {
        "007,1.5": ["object", "float64"],
        ",1.5": ["Int64", "float64"],
        "1,NA": ["int64", "float64"],
        "x,1.5": ["object", "float64"],
        "1,99999999999999999": ["int64", "object"],
        "18446744073709551615,1.5": ["uint64", "float64"],
        "1,": ["int64", "float64"],
    }.items():
        frame, _ = read("\n".join([*rows, last, "1,1.5"]))
        assert [str(t) for t in frame.dtypes] == dtypes
        assert len(frame) == 30_002
    refused(read, "\n".join([*rows, "1", "1,2"]), "line 30002")
    monkeypatch.setattr(texts, "_parse", None)  # the short way does without
    pd.testing.assert_frame_equal(read("\n".join(rows))[0], plain)
    quoted = ['"a","b"', *rows[1:]]  # as R and Arrow write it
    pd.testing.assert_frame_equal(read("\n".join(quoted))[0], plain)


# -- bounds


@pytest.mark.parametrize("cell", ["x" * 5_000_000, "1" * 5_000_000, '"' + "x,\n" * 1_000_000])
@pytest.mark.parametrize("before", [0, 60_000])
def test_huge_cells_are_refused(read, cell, before):
    refused(read, "a,b\n" + "1,2\n" * before + f"{cell},2\n3,4\n", "131,072 letters", "t.csv")


def test_huge_lines_are_refused(read):
    refused(read, b"1," * (9 * 2**20), "first line")
    refused(read, packed(b"1" * (20 * 2**20), "gz"), "first line", name="t.csv.gz")
    refused(read, ",".join(map(str, range(100_000))) + "\n" + ",".join(["1"] * 100_000), "100,000 columns")


@pytest.mark.slow
def test_many_columns_that_are_wrong_have_a_short_message(read):
    refused(read, ",".join(["a"] * 3000) + "\n" + ",".join(["1"] * 3000), "several columns")
    names = ",".join(f"a{i}" for i in range(3000))
    _, notes = read(names + "\n" + ",".join(["?"] * 3000) + "\n" + ",".join(["1"] * 3000))
    assert len("".join(notes)) < 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz", "zip", "zst"])
def test_files_larger_than_memory_end_early(read, kind, monkeypatch):
    monkeypatch.setattr(texts, "available_memory", lambda: 40 * 2**20)
    refused(read, packed(b"1,2\n" * (6 * 2**20), kind), "10 can be read here", name="t.csv.gz")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip", "zst"])
def test_damaged_archives_are_refused(read, kind):
    data = packed(bytes(range(33, 127)) * 300, kind)
    refused(read, data[: len(data) // 2], "t.csv")
    refused(read, data[:6], "t.csv")


def test_archives_of_several_files_are_refused(read):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    refused(read, buffer.getvalue(), "'a.csv' and 'b.csv'", name="t.zip")


@pytest.mark.parametrize("path", ["nowhere.csv", "/dev/null", "/", "x" * 5000, "~nobody/x.csv"])
def test_paths_that_are_no_file(path):
    with pytest.raises(DataError) as caught:
        read_frame_file(Path(path))
    assert len(str(caught.value)) < 700


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["", "PAR1", "ARROW1", "PK\3\4", "BZh", "{", "[", "\ufeff"]),
       st.sampled_from([".csv", ".parquet", ".feather", ".json", ".xlsx", ".data"]))  # fmt: skip
def test_any_bytes_end_in_a_frame_or_one_of_our_errors(read, data, mark, suffix):
    said = ""
    try:
        assert len(read(mark.encode() + data, f"t{suffix}")[0])
    except (DataError, ConfigError) as error:
        said = str(error)
    assert len(said) < 700


# -- JSON, Parquet, Feather, Excel


RECORDS = [{"a": 1, "b": "x", "c": True, "d": 1.5}, {"a": 2, "b": None, "c": False, "e": "2024-01-31"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", json.dumps(RECORDS)),
        ("t.jsonl", "\n".join(map(json.dumps, RECORDS)) + "\n\n"),
        ("t.json", "\n".join(map(json.dumps, RECORDS))),
        ("t.json", json.dumps({k: [r.get(k) for r in RECORDS] for k in "abcde"})),
        ("t.json", json.dumps({k: {i: r.get(k) for i, r in enumerate(RECORDS)} for k in "abcde"})),
    ],
)
def test_json(read, name, text):
    frame, _ = read(text, name)
    assert cells(frame) == {
        "a": [1, 2],
        "b": ["x", None],
        "c": [True, False],
        "d": [1.5, None],
        "e": [None, pd.Timestamp(2024, 1, 31)],
    }


def test_strings_of_digits_in_json_stay_words(read):
    text = json.dumps([{"zip": "10115"}, {"zip": "20095"}])
    assert read(text, "t.json")[0]["zip"].tolist() == ["10115", "20095"]
    assert read(text, "t.json", {"zip": "int64"})[0]["zip"].tolist() == [10115, 20095]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": [1]}]', "lists or objects in 'a'"),
        ('{"a": [1, 2], "b": [1]}', "unlike lengths"),
        ("[1, 2]", "neither records"),
        ('{"a": 1}\n{"a":\n', "line 2 is no JSON"),
        ('[{"a": 1, "a": 2}]', "two values for 'a'"),
        ("[" * 100_000, "t.json"),
        ("[]", "empty"),
    ],
)
def test_json_that_is_no_table(read, text, said):
    refused(read, text, said, name="t.json")


@pytest.fixture
def typed():
    return pd.DataFrame(
        {
            "n": pd.array([1, None, 3], dtype="Int64"),
            "b": pd.array([True, None, False], dtype="boolean"),
            "k": pd.Categorical(["lo", "hi", None], ["lo", "mid", "hi"], ordered=True),
            "t": pd.to_datetime(["2024-01-31", None, "2024-02-01"]),
            "x": [1.5, np.nan, 2.5],
        }
    )


def written(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".feather":
        frame.to_feather(path)
    else:
        pa = pytest.importorskip("pyarrow")
        table = pa.Table.from_pandas(frame)
        with pa.ipc.new_stream(str(path), table.schema) as stream:
            stream.write_table(table)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_parquet_and_feather_keep_their_types(typed, tmp_path, suffix):
    path = written(typed, tmp_path / f"t{suffix}")
    frame, notes = read_frame_file(path)
    pd.testing.assert_frame_equal(frame, typed)
    assert notes == []
    frame, _ = read_frame_file(path, {"n": "text", "x": "int64"})
    assert cells(frame)["n"] == ["1", None, "3"]
    assert frame["x"].dtype == "float64"
    path.write_bytes(path.read_bytes()[:-40])
    if suffix != ".arrow":
        with pytest.raises(DataError):
            read_frame_file(path)


def test_an_index_in_parquet_is_passed_over_and_said(typed, tmp_path):
    frame, notes = read_frame_file(
        written(typed.set_index(pd.Index(["u", "v", "w"], name="id")), tmp_path / "t.parquet")
    )
    assert list(frame) == list(typed)
    assert "index of the frame ('id') is passed over" in notes[0]


def test_a_workbook(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    import datetime

    book = openpyxl.Workbook()
    book.create_sheet("empty")
    rows = [
        ["a", "b", "c", "d"],
        [1, "007", datetime.datetime(2024, 1, 31), True],
        [2.5, "None", None, "#DIV/0!"],
    ]
    for row in rows:
        book.active.append(row)
    path = tmp_path / "t.xlsx"
    book.save(path)
    frame, notes = read_frame_file(path)
    day = pd.Timestamp(2024, 1, 31)
    assert cells(frame) == {"a": [1, 2.5], "b": ["007", "None"], "c": [day, None], "d": [True, None]}
    assert "column 'd': '#N/A' read as missing (1 cell)" in notes
    book["empty"].append(["x"])
    book.save(path)
    with pytest.raises(DataError, match="2 sheets with cells, 'Sheet' and 'empty'"):
        read_frame_file(path)


def test_a_workbook_without_openpyxl_says_what_to_install(read):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install openpyxl"):
            read(buffer.getvalue(), "t.xlsx")
    else:
        refused(read, buffer.getvalue(), "t.xlsx", name="t.xlsx")


# -- a random table comes back equal

LETTERS = st.characters(codec="cp1252", exclude_categories=["Cc", "Zs"]) | st.sampled_from(',;\t|"\n ')
WORDS = st.text(LETTERS, min_size=1, max_size=8)


@st.composite
def tables(draw):
    rows = draw(st.integers(2, 12))
    missing = draw(st.sampled_from(["", "", "NA", "?"]))
    columns = {}
    for i in range(draw(st.integers(2, 5))):
        kind = draw(st.sampled_from(["int", "float", "word", "bool", "date"]))
        number = st.floats(allow_nan=False, allow_infinity=False)
        instant = st.datetimes(pd.Timestamp(1700, 1, 1), pd.Timestamp(2200, 1, 1))
        one = {
            "int": st.integers(-(2**63), 2**63 - 1),
            "float": number.map(lambda v: v + 0.5 if v == int(v) and abs(v) < 1e15 else v),
            "word": WORDS.map(lambda w: f"w{w}w"),
            "bool": st.booleans(),
            "date": instant.map(lambda t: t.replace(microsecond=0)),
        }[kind]
        gaps = draw(st.booleans())
        values = draw(st.lists((one | st.none()) if gaps else one, min_size=rows, max_size=rows))
        values[draw(st.integers(0, rows - 1))] = draw(one)
        columns[f"name {i}"] = (kind, values)
    return columns, missing


@pytest.mark.slow
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    table=tables(),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    comma=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    quote_all=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    kind=st.sampled_from(["", "gz", "bz2", "xz", "zip", "zst"]),
    header=st.booleans(),
    trail=st.booleans(),
)
def test_a_random_table_comes_back(
    read, table, separator, comma, encoding, quote_all, end, kind, header, trail
):
    columns, missing = table
    comma = comma and separator != ","
    mark = "," if comma else "."

    def text(kind, value):
        if value is None:
            return "" if kind == "word" else missing
        if kind == "float":
            return repr(value).replace(".", mark)
        return str(value)

    def quoted(cell):
        odd = quote_all or any(letter in cell for letter in separator + '"\r\n')
        return '"' + cell.replace('"', '""') + '"' if odd and cell else cell

    # a table of words alone has no header that could be known from its rows
    kinds = [kind for kind, _ in columns.values()]
    header = header or set(kinds) == {"word"}
    lines = [list(columns)] if header else []
    lines += [
        [text(k, v[i]) for k, v in columns.values()] for i in range(len(next(iter(columns.values()))[1]))
    ]
    counted = [str(i) for i in range(len(columns))]
    assume(header or lines[0] not in (counted, ["", *counted[:-1]]))  # which are names
    last = separator if trail else ""
    data = "".join(separator.join(map(quoted, line)) + last + end for line in lines)
    like = None
    frame, _ = read(packed(data.encode(encoding), kind), "t.csv", like)
    assert list(frame) == (list(columns) if header else [str(i) for i in range(len(columns))])
    for found, (k, values) in zip(cells(frame).values(), columns.values(), strict=True):
        assert found == values, (k, data)


@pytest.mark.parametrize("separator", [",", ";", "|", "\t"])
@pytest.mark.parametrize("odd", ["007", "00", "01.5"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_zero_in_front_is_kept_in_a_long_table_of_numbers(tmp_path, monkeypatch, separator, odd, place):
    monkeypatch.setattr(frames, "LOOK", 512)  # from here on a table is long
    rows = [[str(i % 50), str(i % 7)] for i in range(3000)]
    rows[2500][place] = odd
    path = tmp_path / "t.csv"
    path.write_text(f"a{separator}b\n" + "".join(separator.join(row) + "\n" for row in rows))
    frame, _ = read_frame_file(path)
    column = frame.iloc[:, place]
    assert column.dtype == (object if "." not in odd else "float64")
    assert len(frame) == len(rows)
    assert (column[2500] == odd) == ("." not in odd)


# ------------------------------------------------------------------ larger than memory
def both(path, **options):
    """A table read in memory and by way of disk, without the sentence that says so."""
    held, streamed = (load(path, stream=stream, **options) for stream in (False, True))
    where, *notes = streamed.notes
    assert "temporary files in" in where
    return held, streamed, notes


def rows_of(split):
    return next(split.batches(len(split)))[0]


R = np.random.default_rng(0)
LINES = [f"{i},{w},{x:.2f},{d}" for i, w, x, d in zip(
    R.integers(0, 99, 300), R.choice(["a b", "NA", "größe", ""], 300), R.normal(size=300), R.integers(1, 28, 300),
    strict=True,
)]  # fmt: skip
BODY = "\n".join(LINES)
DAYS = "x,day\n" + "\n".join(
    f"{x:.3f},{1 + i % 9}/{1 + i % 12}/2024" for i, x in enumerate(R.normal(size=300))
)
LONG = {
    "plain": "i,w,x,d\n" + BODY,
    "no header": BODY,
    "windows": ("i,w,x,d\r\n" + BODY.replace("\n", "\r\n")).encode("cp1252"),
    "latin": ("i,w,x,d\n" + BODY + "\n1,\x81,0.50,3\n").encode("latin-1"),
    "mark": ("i,w,x,d\n" + BODY).encode("utf-8-sig"),
    "utf-16": ("i,w,x,d\n" + BODY).encode("utf-16"),
    "packed": gzip.compress(("i,w,x,d\n" + BODY).encode()),
    "blanks": "i  w   x d\n" + "\n".join(f" {i}   'q'  {i / 8}  {i % 5} " for i in range(300)),
    "quoted blanks": 'i w x\n' + "\n".join(f'{i % 50}  "a \n b{i % 3}"   {i / 8}' for i in range(300)),
    "quotes": "i,w\n" + "\n".join(f'{i % 50},"a ""b"", \n{i % 3}"' for i in range(300)),
    "spaced": "i, w, x\n" + "\n".join(f'{i % 50}, "a,  b{i % 3}", {i / 8}' for i in range(300)),
    "commas at the end": "i,w,x\n" + "\n".join(f"{i % 50},{i % 7},{i / 8}," for i in range(300)),
    "comment": "# by a program\n# i,w,x,d\n" + BODY,
    "index": ",w,x\n" + "\n".join(f"{i},{i % 7},{i / 8}" for i in range(300)),
    "month first late": DAYS + "\n0.5,9/28/2024",
    "unclear days": DAYS,
    "no such day": DAYS + "\n0.5,9/28/2024\n0.25,2/31/2024",
    "words late": "a,b\n" + "\n".join(f"{i % 40},{i / 8}" for i in range(300)) + "\nx,1.5",
    "zero late": "a,b\n" + "\n".join(f"{i % 40},{i / 8}" for i in range(300)) + "\n007,1.5",
    "decimal comma": "a;b\n" + "\n".join(f"{i % 40};{i},{i % 9}5" for i in range(300)),
    "blank lines": "a,b\n" + "\n\n".join(f"{i % 40},{i / 8}" for i in range(300)),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("block", [64, 4 * 2**20])
def test_a_table_by_way_of_disk_is_the_one_in_memory(tmp_path, monkeypatch, name, block):
    """However it is written, and wherever it is cut; what decides of a column may stand in its last row."""
    content = LONG[name] if isinstance(LONG[name], bytes) else LONG[name].encode()
    monkeypatch.setattr(texts, "_BLOCK", block)
    monkeypatch.setattr(spill, "_ROWS", 7)
    path = tmp_path / ("t.csv.gz" if name == "packed" else "t.csv")
    path.write_bytes(content)
    held, streamed, notes = both(path)
    assert isinstance(streamed.train.rows, MappedRows)
    assert streamed.spec == held.spec
    assert notes == list(held.notes)
    for part in ("train", "valid", "test"):
        ours, theirs = rows_of(getattr(streamed, part)), rows_of(getattr(held, part))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    like = load_like(path, held.spec, stream=True).all
    torch.testing.assert_close(
        rows_of(like), rows_of(load_like(path, held.spec).all), rtol=0, atol=0, equal_nan=True
    )


def test_labels_and_conditions_by_way_of_disk(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("i,w,x,d\n" + BODY)
    held, streamed, _ = both(path, label_column="w", condition=["label", "d"], schema={"i": "category"})
    assert streamed.spec == held.spec
    for ours, theirs in zip(streamed.train.batches(50), held.train.batches(50), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    model = lb.VAE.for_data(held, latent=2, network={"hidden": [4]})
    scores = [lb.evaluate.nll(model, data.test, samples=5).value for data in (held, streamed)]
    assert scores[0] == scores[1]
    assert difference(fingerprint(held), fingerprint(streamed)) is None


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_table_larger_than_memory_goes_by_way_of_disk(tmp_path, monkeypatch, name):
    """Of what is packed nobody knows how large it becomes: that must be asked for."""
    monkeypatch.setattr(texts, "available_memory", lambda: 4 * 2**10)
    (tmp_path / "for a time").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "for a time"))
    path = tmp_path / name
    content = ("i,w,x,d\n" + BODY).encode()
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    if name.endswith("gz"):
        with pytest.raises(DataError, match="stream=True reads it by way of a copy on disk"):
            load(path)
    assert isinstance(load(path, stream=True if name.endswith("gz") else None).train.rows, MappedRows)
    with pytest.raises(DataError, match="MiB or more, unpacked"):
        load(path, stream=False)
    monkeypatch.setattr(texts.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**12))
    with pytest.raises(DataError, match="MiB or more"):
        load(path, stream=True)
    assert not [*(tmp_path / "for a time").iterdir()]


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,4,5\n" + "6,7\n" * 300, 'a,b\n1,"2\n' + "6,7\n" * 300])
def test_damage_is_named_by_its_line_by_way_of_disk_too(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text)
    said = []
    for stream in (False, True):
        with pytest.raises(DataError) as caught:
            load(path, stream=stream)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_what_is_no_table_of_text_is_not_streamed(tmp_path):
    pd.DataFrame({"a": [1, 2, 3]}).to_json(tmp_path / "t.json", orient="records")
    with pytest.raises(ConfigError, match="is for tables of text"):
        load(tmp_path / "t.json", stream=True)
    with pytest.raises(ConfigError, match="which this source is not"):
        load(pd.DataFrame({"a": [1.5, 2.5, 3.5]}), stream=True)
