"""Pictures as people have them: formats, frames, depths, transparency, lists of labels, splits, bombs."""

import io
import json
import tarfile
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from lowerbound.data import images, load, load_like, pictures
from lowerbound.data.images import natural, part_of
from lowerbound.data.reading import Reading
from lowerbound.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)
    return path


def grey(level, size=(3, 4)):
    return np.full(size, level, np.uint8)


def encoded(array, kind="png", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def write_tar(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_parquet(path, contents):
    pq.write_table(pa.table({"image": pa.array(contents, pa.binary())}), path, row_group_size=1)
    return path


def in_order(data):
    """All that is stored and its labels, in the order of the files."""
    x = torch.cat(
        [split.rows.read(torch.arange(len(split))) for split in (data.train, data.valid, data.test)]
    )
    labels = [split.labels for split in (data.train, data.valid, data.test)]
    order = np.arange(len(x)) if data.order is None else np.argsort(data.order)
    return x[order], None if labels[0] is None else torch.cat(labels)[order]


def levels(data):
    """The first value of each picture, in the order of the files."""
    return in_order(data)[0][:, 0, 0, 0].tolist()


def told(folder, **options):
    """The data, and what was said of them."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        data = load(folder, **options)
    return data, [str(warning.message) for warning in record]


# ------------------------------------------------------------------ formats

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("form", ["folder", "tar", "parquet"])
@pytest.mark.parametrize("content", [POSTSCRIPT, b"\xc5\xd0\xd3\xc6" + bytes(28) + POSTSCRIPT])
def test_postscript_called_a_picture_starts_no_program(tmp_path, monkeypatch, form, content):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text(f"#!/bin/sh\n: > {tmp_path}/canary\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for anew
    source = tmp_path / "x"
    if form == "folder":
        source.mkdir()
        for name in "xyz":
            (source / f"{name}.png").write_bytes(content)
    elif form == "tar":
        source = write_tar(tmp_path / "x.tar", [(f"{i}.png", content) for i in range(3)])
    else:
        source = write_parquet(tmp_path / "x.parquet", [content] * 3)
    with pytest.raises(DataError, match="it is none of JPEG, PNG"):
        load(source)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".jfif", "jpeg"),
        (".tga", "tga"),
        (".jp2", "jpeg2000"),
        (".avif", "avif"),
        (".WEBP", "webp"),
        (".pnm", "ppm"),
    ],
)
def test_each_suffix_is_read(tmp_path, suffix, kind):
    try:
        content = encoded(grey(90, (16, 16)), kind)
    except (KeyError, OSError):
        pytest.skip(f"this PIL has no {kind}")
    for i in range(3):
        (tmp_path / f"{i}{suffix}").write_bytes(content)
    assert np.abs(np.array(levels(load(tmp_path))) - 90).max() <= 2


def test_other_files_are_counted_and_named_and_litter_is_not(tmp_path):
    for i in range(3):
        write(tmp_path / "a" / f"{i}.png", grey(i))
    for name in ("a/p.heic", "notes.txt", ".DS_Store", "a/desktop.ini", "__MACOSX/a/0.png", ".hidden/9.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    data, said = told(tmp_path)
    assert said == [f"{tmp_path}: passed over 2 files that are no pictures: a/p.heic, notes.txt"]
    assert levels(data) == [0, 1, 2]


def test_a_link_to_the_folder_above_is_followed_once(tmp_path):
    for i in range(3):
        write(tmp_path / "a" / f"{i}.png", grey(i))
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert levels(load(tmp_path)) == [0, 1, 2, 0, 1, 2]


def test_tables_beside_pictures_say_that_the_pictures_are_passed_over(tmp_path, rng):
    pd.DataFrame(rng.normal(size=(9, 2)), columns=["a", "b"]).to_parquet(tmp_path / "t.parquet")
    write(tmp_path / "plots" / "1.png", grey(1))
    data, said = told(tmp_path)
    assert data.spec.columns == ("a", "b")
    assert said == [f"{tmp_path} is read as .parquet files; passed over 1 pictures in it: plots/1.png"]


# ------------------------------------------------------------------ frames


def stack(path, count, first=0, **options):
    frames = [Image.fromarray(grey(10 * (first + i))) for i in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_frames_are_refused_or_all_or_the_first(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    for i in range(2):
        stack(tmp_path / f"{i}.{suffix}", 3, 4 * i, **options)
    write(tmp_path / f"2.{suffix}", grey(200), **options)
    with pytest.raises(DataError, match=rf"0\.{suffix} .* it holds 3 frames.*frames='all'.*frames='first'"):
        load(tmp_path)
    with pytest.raises(DataError, match="it holds 3 frames"):
        load(tmp_path, on_corrupt="skip")
    assert levels(load(tmp_path, frames="all")) == [0, 10, 20, 40, 50, 60, 200]
    data, said = told(tmp_path, frames="first")
    assert levels(data) == [0, 40, 200]
    assert len(said) == 1
    assert "first alone" in said[0]
    assert said[0].endswith("(2 of 3)")


def test_frames_keep_the_class_of_their_file(tmp_path):
    stack(tmp_path / "a" / "0.tif", 2)
    stack(tmp_path / "b" / "0.tif", 3)
    assert in_order(load(tmp_path, frames="all"))[1].tolist() == [0, 0, 1, 1, 1]


def test_frames_in_shards_and_tables(tmp_path):
    file = io.BytesIO()
    Image.fromarray(grey(1)).save(file, "tiff", save_all=True, append_images=[Image.fromarray(grey(2))])
    for source in (
        write_tar(tmp_path / "x.tar", [(f"{i}.tif", file.getvalue()) for i in range(3)]),
        write_parquet(tmp_path / "x.parquet", [file.getvalue()] * 3),
    ):
        with pytest.raises(DataError, match="it holds 2 frames"):
            load(source)
        with pytest.raises(ConfigError, match="frames='all' is for folders"):
            load(source, frames="all")
        with pytest.warns(UserWarning, match="first alone"):
            assert levels(load(source, frames="first")) == [1, 1, 1]


# ------------------------------------------------------------------ depths


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_levels_of_their_own(tmp_path, suffix):
    for i, level in enumerate([0, 300, 40_000, 65_535]):
        write(tmp_path / f"{i}.{suffix}", np.full((3, 4), level, np.uint16))
    data = load(tmp_path)
    assert (data.spec.event_shape, data.spec.values, data.spec.levels) == ((1, 3, 4), "unit", 65_536)
    assert levels(data) == [0, 300, 40_000, 65_535]
    assert data.train.rows.tensor.dtype == torch.int32
    assert levels(load(tmp_path, channels=3)) == levels(data)
    small = load(tmp_path, image_size=2)
    assert levels(small) == levels(data)


def test_dequantised_sixteen_bits_stay_in_their_cells():
    v = torch.arange(65_536, dtype=torch.int32).repeat(8, 1)
    x = Reading("dequantise", 65_535.0)(v, torch.Generator().manual_seed(0)).double() * 65_536
    assert (x > v).all()
    assert (x < v + 1).all()
    assert abs((x - v).mean() - 0.5) < 5 * (1 / 12 / v.numel()) ** 0.5


def test_floats_are_read_as_they_are_if_they_lie_in_the_unit_interval(tmp_path, rng):
    arrays = rng.random((4, 3, 5)).astype(np.float32)
    for i, array in enumerate(arrays):
        write(tmp_path / f"{i}.tif", array)
    data = load(tmp_path)
    assert (data.spec.values, data.spec.levels) == ("unit", None)
    assert np.array_equal(in_order(data)[0][:, 0], arrays)
    write(tmp_path / "wide.tif", 300 * arrays[0])
    with pytest.raises(DataError, match=r"wide\.tif .* floats lie in \[\d.*white is unknown"):
        load(tmp_path, on_corrupt="skip")  # it is not damaged


def test_depths_that_are_not_one_and_not_read_are_refused_and_never_skipped(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.png", grey(i))
    write(tmp_path / "deep.png", np.full((3, 4), 40_000, np.uint16))
    with pytest.raises(DataError, match=r"several depths: 0\.png is read as uint8 and deep\.png as uint16"):
        load(tmp_path, on_corrupt="skip")
    write(tmp_path / "0.tif", np.full((3, 4), 70_000, np.int32))
    with pytest.raises(DataError, match=r"0\.tif cannot be taken as it is: its mode is I.*white is unknown"):
        load(tmp_path, on_corrupt="skip")


def test_sixteen_bits_in_shards_and_tables(tmp_path):
    contents = [encoded(np.full((3, 4), 700 * i, np.uint16)) for i in range(1, 5)]
    for source in (
        write_tar(tmp_path / "x.tar", [(f"{i}.png", c) for i, c in enumerate(contents)]),
        write_parquet(tmp_path / "x.parquet", contents),
    ):
        data = load(source)
        assert (levels(data), data.spec.levels) == ([700, 1400, 2100, 2800], 65_536)
    with pytest.raises(DataError, match="values are uint8, but those of the first picture uint16"):
        load(write_parquet(tmp_path / "x.parquet", [*contents, encoded(grey(1))]))


def test_colours_of_sixteen_bits_are_said_to_be_cut(tmp_path):
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 1, 2, 3)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    content += chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b"")
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(content)
    data, said = told(tmp_path)
    assert in_order(data)[0][0, :, 0, 0].tolist() == [0x12, 0x56, 0x9A]
    assert said == [f"{tmp_path}: pictures with {pictures.REMARKS['cut']} (3 of 3)"]


# ------------------------------------------------------------------ transparency


def hidden(colour=(250, 3, 9)):
    """A picture whose left half is transparent, over a colour, and whose right is (10, 20, 30)."""
    array = np.zeros((4, 4, 4), np.uint8)
    array[:, :2] = (*colour, 0)
    array[:, 2:] = (10, 20, 30, 255)
    return array


def test_hidden_colours_are_no_data(tmp_path, rng):
    for i in range(3):
        write(tmp_path / f"{i}.png", hidden(rng.integers(0, 256, 3)))
    write(
        tmp_path / "opaque.png",
        np.dstack([np.tile([10, 20, 30], (4, 4, 1)), np.full((4, 4), 255)]).astype(np.uint8),
    )
    data, said = told(tmp_path)
    x = in_order(data)[0]
    assert (x[:3, :, :, :2] == 255).all()
    assert x[:, :, 0, 3].tolist() == [[10, 20, 30]] * 4
    assert said == [
        f"{tmp_path}: pictures with transparent parts, laid on white: background= names another ground, channels=4 "
        "keeps them (3 of 4)"
    ]
    dark = in_order(told(tmp_path, background="#000102")[0])[0]
    assert dark[0, :, 0, 0].tolist() == [0, 1, 2]
    kept, said = told(tmp_path, channels=4)
    assert (kept.spec.event_shape, said) == ((4, 4, 4), [])
    assert in_order(kept)[0][:3, 3, 0].tolist() == [[0, 0, 255, 255]] * 3
    resized = in_order(told(tmp_path, image_size=2)[0])[0]
    assert (resized[:3] == resized[0]).all()  # no hidden colour seeps in


@pytest.mark.parametrize("stored", ["palette", "grey", "half"])
def test_transparency_in_other_forms(tmp_path, stored):
    for i in range(3):
        if stored == "palette":
            picture = Image.new("P", (2, 2))
            picture.putpalette([200, 0, 0, 0, 0, 200])
            picture.putpixel((1, 0), 1)
            picture.save(tmp_path / f"{i}.png", transparency=0)
        elif stored == "grey":
            Image.merge("LA", [Image.new("L", (2, 2), 40), Image.new("L", (2, 2), 0)]).save(
                tmp_path / f"{i}.png"
            )
        else:
            Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(tmp_path / f"{i}.png")
    x = in_order(told(tmp_path)[0])[0]
    expected = {"palette": [255, 255, 255], "grey": [255], "half": [127]}[stored]
    assert x[0, :, 0, 0].tolist() == expected
    if stored == "palette":
        assert x[0, :, 0, 1].tolist() == [0, 0, 200]


def test_transparency_in_tables_is_said(tmp_path):
    source = write_parquet(tmp_path / "x.parquet", [encoded(hidden())] * 3)
    with pytest.warns(UserWarning, match="transparent parts, laid on white"):
        x = in_order(load(source))[0]
    assert (x[:, :, :, :2] == 255).all()


# ------------------------------------------------------------------ order, labels


def test_names_are_in_natural_order(tmp_path):
    names = ["2.png", "10.png", "1.png", "B1.png", "a10.png", "a9.png", "010.png"]
    for i, name in enumerate(names):
        write(tmp_path / name, grey(i))
    assert [names[i] for i in levels(load(tmp_path))] == [
        "1.png", "2.png", "010.png", "10.png", "a9.png", "a10.png", "B1.png",
    ]  # fmt: skip
    labels = np.array(["one", "two", "ten", "ten", "nine", "ten", "b"])
    assert load(tmp_path, labels=labels).spec.classes == ("b", "nine", "one", "ten", "two")


def test_shards_are_in_natural_order(tmp_path):
    for i in (2, 10, 1):
        write_tar(tmp_path / f"part-{i}.tar", [(f"{i}-{k}.png", encoded(grey(i))) for k in range(2)])
    assert levels(load(tmp_path)) == [1, 1, 2, 2, 10, 10]


def test_orientation_of_cameras(tmp_path):
    array = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    for i in range(3):
        write(tmp_path / f"{i}.png", array, exif=exif)
    assert np.array_equal(in_order(load(tmp_path))[0][0, 0], np.rot90(array, -1))


@pytest.fixture
def numbered(tmp_path):
    folder = tmp_path / "photos"
    for i in range(12):
        write(folder / f"{i}.png", grey(i))
    return folder


@pytest.mark.parametrize(
    "form",
    [
        "header",
        "bare",
        "semicolons",
        "stems",
        "jsonl",
        "parquet",
        "metadata.csv",
        "metadata.jsonl",
        "metadata.parquet",
    ],
)
def test_labels_go_by_the_names_of_the_files(tmp_path, numbered, form):
    rows = [(f"{i}.png", ["even", "odd"][i % 2]) for i in (11, 3, 7, 0, 1, 2, 4, 5, 6, 8, 9, 10)]
    options = {}
    frame = pd.DataFrame(rows, columns=["file_name", "label"])
    if form.startswith("metadata"):
        path = numbered / form
        frame["text"] = "a, word"
    else:
        suffix = form if form in ("jsonl", "parquet") else "csv"
        path = tmp_path / f"labels.{suffix}"
        options = {"labels": path}
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    elif form == "stems":
        path.write_text("label,id\n" + "".join(f"{label},{name[:-4]}\n" for name, label in rows))
    elif form == "bare":
        path.write_text("".join(f"{name},{label}\n" for name, label in rows))
    else:
        frame.to_csv(path, index=False, sep=";" if form == "semicolons" else ",")
    data, said = told(numbered, **options)
    assert (data.spec.classes, said) == (("even", "odd"), [])
    assert in_order(data)[1].tolist() == [i % 2 for i in levels(data)] == [0, 1] * 6


@pytest.mark.parametrize(
    "front",
    ["{0.name}/", "./{0.name}/", "{0}/", "{0.name}\\", "data/raw/{0.name}/", "elsewhere/"],
)
def test_names_in_a_list_can_have_the_folders_above_in_front(tmp_path, numbered, front):
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"{front.format(numbered)}{i}.png,{i % 2}\n" for i in range(12)))
    data, _ = told(numbered, labels=path)
    assert in_order(data)[1].tolist() == [i % 2 for i in levels(data)]


def test_folders_in_a_list_tell_pictures_of_one_name_apart(tmp_path):
    for i in range(12):
        write(tmp_path / "x" / "ab"[i % 2] / f"{i // 2}.png", grey(20 * i))
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"x/{'ab'[i % 2]}/{i // 2}.png,{'ab'[i % 2]}\n" for i in range(12)))
    data, _ = told(tmp_path / "x", labels=path)
    assert in_order(data)[1].tolist() == [level // 20 % 2 for level in levels(data)]
    path.write_text("x/a/0.png,1\n" + "".join(f"y/{i}.png,1\n" for i in range(11)))
    with pytest.raises(DataError, match="12 of 12 rows name no picture"):
        load(tmp_path / "x", labels=path)


def test_arrays_of_sixteen_bits_are_the_pictures_of_files(tmp_path):
    deep = np.random.default_rng(0).integers(0, 2**16, (12, 3, 4), dtype=np.uint16)
    for i, picture in enumerate(deep):
        write(tmp_path / f"{i}.png", picture)
    filed, held = load(tmp_path), load(deep)
    assert filed.spec.white == held.spec.white == 65535
    assert filed.spec.levels == held.spec.levels == 2**16
    assert load_like(deep, filed.spec).spec.values == "unit"


def test_a_list_in_the_folder_is_found_by_its_name_and_read_again(numbered):
    text = "file,size,digit\n" + "".join(f"{i}.png,3,{i % 3 + 9}\n" for i in range(12))
    (numbered / "labels.csv").write_text(text)
    with pytest.raises(DataError, match="has no column called label; pass label_column="):
        load(numbered, labels="labels.csv")
    data = load(numbered, labels="labels.csv", label_column="digit")
    assert data.spec.classes == ("9", "10", "11")  # as numbers are ordered
    again = load(numbered, **data.options)
    assert torch.equal(again.train.labels, data.train.labels)


def test_metadata_without_labels_leaves_the_classes_of_the_folders(tmp_path):
    for i in range(4):
        write(tmp_path / "ab"[i % 2] / f"{i}.png", grey(i))
    (tmp_path / "metadata.csv").write_text("file_name,text,size\na/0.png,x,1\n")
    data, said = told(tmp_path)
    assert data.spec.classes == ("a", "b")
    assert said == [f"{tmp_path}: passed over 1 files that are no pictures: metadata.csv"]


def test_metadata_in_each_part_as_hugging_face_has_it(tmp_path):
    for part in ("train", "validation", "test"):
        for i in range(3):
            write(tmp_path / part / f"{i}.png", grey(i))
        (tmp_path / part / "metadata.csv").write_text(
            "file_name,label\n" + "".join(f"{i}.png,{part[0]}{i}\n" for i in (2, 1, 0))
        )
    data = load(tmp_path)
    names = [data.spec.classes[i] for i in data.valid.labels]
    assert (names, len(data.valid)) == (["v0", "v1", "v2"], 3)


def test_a_list_must_fit_the_folder(tmp_path, numbered):
    path = tmp_path / "labels.csv"
    path.write_text("file_name,label\n" + "".join(f"{i}.png,a\n" for i in range(2, 20)) + "2.png,b\n")
    with pytest.raises(DataError) as error:
        load(numbered, labels=path)
    for part in (
        "8 of 19 rows name no picture, or several (12.png",
        "1 of 19 rows",
        "2 of 12 pictures have no row (0.png",
    ):
        assert part in str(error.value)
    path.write_text("file_name,label\n1.png\n")
    with pytest.raises(DataError, match="row 2 has 1 fields, but row 1 has 2"):
        load(numbered, labels=path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="cannot be read as a list of file names and labels"):
        load(numbered, labels=path)
    with pytest.raises(DataError, match="cannot be read as a list"):
        load(numbered, labels=tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="goes by the names of pictures"):
        load("digits", labels=path)
    with pytest.raises(DataError, match=r"no metadata\.csv"):
        load(numbered, label_column="digit")


def test_names_that_several_files_share_name_none(tmp_path):
    for i in range(4):
        write(tmp_path / "photos" / "ab"[i % 2] / f"{i // 2}.png", grey(i))
    path = tmp_path / "labels.csv"
    path.write_text("file_name,label\n0.png,x\n1.png,y\n")
    with pytest.raises(DataError, match=r"2 of 2 rows name no picture, or several"):
        load(tmp_path / "photos", labels=path)
    path.write_text("file_name,label\nb/0.png,x\na\\1.png,y\na/0.png,z\n./b/1.png,z\n")
    data = load(tmp_path / "photos", labels=path)
    assert [data.spec.classes[i] for i in in_order(data)[1]] == ["z", "y", "x", "z"]


# ------------------------------------------------------------------ splits


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "training_set", "trainset")),
        *((name, "valid") for name in ("val", "Valid", "validation", "dev", "validation_images")),
        *((name, "test") for name in ("test", "Testing", "test set")),
        *((name, None) for name in ("trains", "value", "testify", "device", "cat", "my test", "")),
    ],
)
def test_spellings_of_the_parts(name, part):
    assert part_of(name) == part


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "Dev", "Testing")])
def test_sub_folders_of_a_split_are_never_classes(tmp_path, names):
    for i, part in enumerate(names):
        for k in range(4):
            write(tmp_path / part / ("cat" if k % 2 else "dog") / f"{k}.png", grey(10 * i + k))
    data = load(tmp_path, condition="label")
    assert data.spec.classes == ("cat", "dog")
    assert [
        sorted(split.rows.tensor[:, 0, 0, 0].tolist()) for split in (data.train, data.valid, data.test)
    ] == [[10 * i + k for k in range(4)] for i in range(3)]


def test_files_of_a_split_in_any_spelling(tmp_path, rng):
    for part in ("Training", "dev", "test"):
        (tmp_path / part).mkdir()
        np_rows = pd.DataFrame(rng.normal(size=(3, 2)), columns=["a", "b"])
        np_rows.to_parquet(tmp_path / part / "0.parquet")
    assert len(load(tmp_path).valid) == 3


def test_a_part_that_is_missing_is_taken_from_train(tmp_path):
    for i in range(40):
        write(tmp_path / "train" / f"{i}.png", grey(i))
    for i in range(3):
        write(tmp_path / "test" / f"{i}.png", grey(100 + i))
    data, said = told(tmp_path, seed=1)
    assert said == [f"{tmp_path}: no pictures of valid, so 4 of the 40 of train are taken, by the seed"]
    train, valid, test = (s.rows.tensor[:, 0, 0, 0].tolist() for s in (data.train, data.valid, data.test))
    assert sorted(train + valid) == list(range(40))
    assert (len(valid), test) == (4, [100, 101, 102])
    assert told(tmp_path, seed=1)[0].valid.rows.tensor[:, 0, 0, 0].tolist() == valid
    assert told(tmp_path, seed=2)[0].valid.rows.tensor[:, 0, 0, 0].tolist() != valid


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("train", "val", "validation"), "val and validation|train and val and validation"),
        (("validation", "test"), "train, and valid or test or both"),
        (("cat", "dog", "validation"), r"has validation, parts of a split, and next to them cat, dog"),
        (("train", "test", "extra"), r"next to them extra"),
    ],
)
def test_parts_that_make_no_split_are_refused(tmp_path, names, match):
    for name in names:
        for i in range(3):
            write(tmp_path / name / f"{i}.png", grey(i))
    with pytest.raises(DataError, match=match):
        load(tmp_path)


def test_pictures_of_trains_are_a_class(tmp_path):
    for name in ("car", "train"):
        for i in range(3):
            write(tmp_path / name / f"{i}.png", grey(i))
    assert load(tmp_path).spec.classes == ("car", "train")


# ------------------------------------------------------------------ too much


def test_a_large_picture_is_refused_by_its_announced_size(tmp_path, monkeypatch):
    path = tmp_path / "big.png"
    Image.new("L", (9_000, 9_000)).save(path, compress_level=1)
    monkeypatch.setattr(pictures, "available_memory", lambda: 500 * 2**20)
    with pytest.raises(
        DataError, match=r"9000 x 9000 pixels .* take 308 MiB to decode.* 500 MiB that are free"
    ):
        load(tmp_path, image_size=8)


@pytest.mark.filterwarnings("error")
def test_pils_own_warnings_are_not_for_users(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for i in range(3):
        write(tmp_path / f"{i}.png", grey(i))
    assert levels(load(tmp_path)) == [0, 1, 2]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(DataError, match="announces more than 10 pixels"):
        load(tmp_path)


def test_more_pictures_than_memory_holds_are_refused(tmp_path, monkeypatch):
    for i in range(3):
        write(tmp_path / f"{i}.png", grey(i, (900, 900)))
    monkeypatch.setattr(images, "available_memory", lambda: 2**20)
    with pytest.raises(
        DataError, match=r"3 pictures of 900x900 take 2 MiB, and 1 MiB are free; pass image_size="
    ):
        load(tmp_path)
    assert len(load(tmp_path, image_size=9).train) == 1


def test_messages_are_short(tmp_path):
    for i in range(400):
        (tmp_path / f"{i}-{'x' * 150}.png").write_bytes(b"no picture")
        (tmp_path / f"{i}-{'y' * 150}.doc").write_bytes(b"")
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert len(str(error.value)) < 2500
    for i in range(3):
        write(tmp_path / f"{i}.png", grey(i))
    _, said = told(tmp_path, on_corrupt="skip")
    assert [len(line) < 2500 for line in said] == [True, True]
    assert "left out, 400 of 403 images cannot be decoded: 0-xx" in said[1]


def test_threads_keep_the_order_and_collect_what_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_MANY_PIXELS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for i in range(60):
        write(tmp_path / f"{i}.png", grey(i, (40, 40)))
    assert levels(load(tmp_path)) == list(range(60))
    for i in (7, 30):
        (tmp_path / f"{i}.png").write_bytes(b"")
    data, said = told(tmp_path, on_corrupt="skip")
    assert levels(data) == [i for i in range(60) if i not in (7, 30)]
    assert "2 of 60 images cannot be decoded: 7.png" in said[0]


def test_draft_decoding_of_jpegs_stays_near_the_full_one(tmp_path):
    y, x = np.mgrid[:400, :400]
    array = np.stack([y * 255 // 400, x * 255 // 400, (x + y) * 255 // 800], -1).astype(np.uint8)
    for i in range(3):
        write(tmp_path / "j" / f"{i}.jpg", array, quality=95)
        write(tmp_path / "p" / f"{i}.png", array)
    jpeg, png = (in_order(load(tmp_path / name, image_size=16))[0].int() for name in "jp")
    assert (jpeg - png).abs().max() <= 3


def test_one_picture_is_a_source(tmp_path):
    path = write(tmp_path / "one.png", grey(7))
    with pytest.raises(DataError, match="has 1 examples"):
        load(path)
    source = images.read_folder(path, pictures.PictureForm())
    assert source.parts[0].tolist() == grey(7)[None, None].tolist()
    assert source.labels is None
    with pytest.raises(DataError, match="is one picture"):
        load(path, labels="labels.csv")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"frames": "some"}, "frames='some' is not known"),
        ({"background": "chalk"}, "background='chalk' is no colour"),
        ({"background": 3}, "background=3 is no colour"),
        ({"channels": 2}, "channels=2 is not known"),
        ({"channels": 4, "background": "black"}, "channels=4 keeps transparency"),
    ],
)
def test_options_are_checked(numbered, options, match):
    with pytest.raises(ConfigError, match=match):
        load(numbered, **options)


def test_natural_keys_compare_whatever_the_names_are():
    names = ["", "1", "a", "1a", "a1", "²", "٣", "A1", "a01", "1.5"]
    assert sorted(names, key=natural) == sorted(names[::-1], key=natural)


JPEGS = {
    "plain": {},
    "grey": {"mode": "L"},
    "progressive": {"progressive": True},
    "full colour": {"subsampling": 0, "quality": 95},
    "optimised, restarts": {"optimize": True, "restart_marker_rows": 1},
    "comment": {"comment": b"\xff\xc0 in a comment"},
    "four inks": {"mode": "CMYK"},
    "profile": {"icc_profile": b"x" * 400},
    "large tables": {"quality": 100},
}


@pytest.mark.parametrize("case", JPEGS)
@pytest.mark.parametrize("turned", [False, True])
def test_jpegs_are_decoded_as_pil_decodes_them(tmp_path, rng, case, turned):
    options = dict(JPEGS[case])
    colours = rng.integers(0, 256, (9, 17, 3), dtype=np.uint8)
    picture = Image.fromarray(colours).convert(options.pop("mode", "RGB"))
    if turned:
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    picture.save(tmp_path / "x.jpg", **options)
    with Image.open(tmp_path / "x.jpg") as opened:
        right = np.asarray(ImageOps.exif_transpose(opened).convert("L" if opened.mode == "L" else "RGB"))
    (found,) = pictures.decode(str(tmp_path / "x.jpg"), pictures.PictureForm())
    values = found.values if found.values.ndim == 2 else np.moveaxis(found.values, 0, 2)
    assert np.array_equal(values, right)
    assert found.grey == (case == "grey")
    content = (tmp_path / "x.jpg").read_bytes()
    for end in (3, 30, 200, len(content) // 2):
        (tmp_path / "cut.jpg").write_bytes(content[:end])
        with pytest.raises((OSError, ValueError, SyntaxError)):
            pictures.decode(str(tmp_path / "cut.jpg"), pictures.PictureForm())
