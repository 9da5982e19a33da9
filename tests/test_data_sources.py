"""Every source gives the right examples with the right meaning, and what is wrong is refused with its remedy."""

import gzip
import hashlib
import json
import os
import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from lowerbound.data import idx, load
from lowerbound.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")
REAL = Path(os.environ.get("LOWERBOUND_DATA", "."))


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture(autouse=True)
def no_ambient_data(monkeypatch, tmp_path):
    """Keep the user's own data and cache out of the tests."""
    monkeypatch.delenv("LOWERBOUND_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def stored(split):
    """What is stored, in the split's order."""
    return split.rows.read(torch.arange(len(split)))


def everything(data):
    return torch.cat([stored(getattr(data, name)) for name in SPLITS])


def same_rows(a, b):
    """The same examples, whatever their order."""
    a, b = (np.asarray(x).reshape(len(x), -1).astype(np.float64) for x in (a, b))
    return np.array_equal(a[np.lexsort(a.T)], b[np.lexsort(b.T)])


# ------------------------------------------------------------------ digits, mnist


def test_digits_are_sklearns():
    from sklearn.datasets import load_digits

    data, digits = load("digits"), load_digits()
    assert (data.spec.event_shape, data.spec.values, data.spec.binarize) == ((1, 8, 8), "binary", "dynamic")
    assert [len(getattr(data, name)) for name in SPLITS] == [1437, 180, 180]
    with_label = np.column_stack([digits.data, digits.target])
    mine = torch.cat(
        [torch.cat([getattr(data, n).labels for n in SPLITS])[:, None], everything(data).flatten(1)], 1
    )
    assert same_rows(np.roll(with_label, 1, axis=1), mine)
    assert data.spec.classes == tuple("0123456789")


def idx_bytes(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


@pytest.fixture
def small_mnist(monkeypatch, rng):
    """The files' content, with fewer and smaller images than the real ones."""
    monkeypatch.setattr(idx, "TRAIN", (12, 3, 2))
    monkeypatch.setattr(idx, "TEST", (5, 3, 2))
    monkeypatch.setattr(idx, "VALID", 4)
    arrays = [
        rng.integers(0, 256, (12, 3, 2), dtype=np.uint8),
        np.arange(12, dtype=np.uint8) % 10,
        rng.integers(0, 256, (5, 3, 2), dtype=np.uint8),
        np.arange(5, dtype=np.uint8) + 5,
    ]
    return dict(zip(idx.DATASETS["mnist"].md5, arrays, strict=True))


def write_idx(folder, files, packed):
    folder.mkdir(parents=True)
    for name, array in files.items():
        content = idx_bytes(array)
        target = folder / (name if packed else name.removesuffix(".gz"))
        target.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("how", ["root", "raw", "environment", "cache"])
def test_idx_files_are_found_and_split(tmp_path, monkeypatch, small_mnist, packed, name, how):
    folder = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    base = tmp_path / "cache" / "lowerbound" if how == "cache" else tmp_path / "root"
    raw = base / folder / "raw"
    write_idx(raw, small_mnist, packed)
    if how == "environment":
        monkeypatch.setenv("LOWERBOUND_DATA", str(base))
    data = load(name, root={"root": base, "raw": raw}.get(how))
    images, labels, test, test_labels = small_mnist.values()
    assert np.array_equal(stored(data.train)[:, 0], images[:8])
    assert np.array_equal(stored(data.valid)[:, 0], images[8:])  # the end of the training file
    assert np.array_equal(stored(data.test)[:, 0], test)
    assert data.train.labels.tolist() == labels[:8].tolist()
    assert data.valid.labels.tolist() == labels[8:].tolist()
    assert data.test.labels.tolist() == test_labels.tolist()
    assert data.spec.binarize == ("dynamic" if name == "mnist" else "none")
    assert data.spec.levels == (None if name == "mnist" else 256)
    assert data.spec.classes[9] == ("9" if name == "mnist" else "Ankle boot")


def test_raw_folder_of_the_other_data_set_does_not_pass(tmp_path, monkeypatch, small_mnist):
    write_idx(tmp_path / "MNIST" / "raw", small_mnist, packed=False)
    monkeypatch.setitem(idx.DATASETS, "fashion-mnist", mirrored("fashion-mnist"))
    with pytest.raises(DataError, match="fashion-mnist was not found"):
        load("fashion-mnist", root=tmp_path / "MNIST" / "raw")


def mirrored(name, mirrors=(), md5=None):
    return replace(idx.DATASETS[name], mirrors=mirrors, md5=md5 or idx.DATASETS[name].md5)


def test_download_checks_the_hash_tries_the_next_mirror_and_keeps_the_files(
    tmp_path, monkeypatch, small_mnist, capsys
):
    write_idx(tmp_path / "good", small_mnist, packed=True)
    md5 = {f: hashlib.md5((tmp_path / "good" / f).read_bytes()).hexdigest() for f in small_mnist}
    write_idx(tmp_path / "bad", {f: a + np.uint8(1) for f, a in small_mnist.items()}, packed=True)
    urls = [(tmp_path / name).as_uri() + "/" for name in ("absent", "bad", "good")]
    monkeypatch.setitem(idx.DATASETS, "mnist", mirrored("mnist", tuple(urls), md5))
    data = load("mnist")
    assert np.array_equal(stored(data.test)[:, 0], list(small_mnist.values())[2])
    raw = tmp_path / "cache" / "lowerbound" / "MNIST" / "raw"
    assert sorted(os.listdir(raw)) == sorted(small_mnist)  # and no partial file
    output = capsys.readouterr()
    assert output.out == ""
    assert "downloading" in output.err
    monkeypatch.setitem(idx.DATASETS, "mnist", mirrored("mnist"))
    assert len(load("mnist").train) == 8  # from the cache

    for file in raw.iterdir():
        file.unlink()
    monkeypatch.setitem(idx.DATASETS, "mnist", mirrored("mnist", tuple(urls[:2]), md5))
    with pytest.raises(DataError) as error:
        load("mnist", root=tmp_path)
    for part in (
        str(tmp_path / "MNIST" / "raw"),
        str(raw),
        urls[0],
        "checksum",
        "--root DIR",
        "LOWERBOUND_DATA",
    ):
        assert part in str(error.value)
    assert list(raw.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b"\x00\x00\x0d" + b[3:], "00000d"),
        (lambda b: b[:-1], "announces"),
        (lambda b: b + b"\x00", "announces"),
        (lambda b: b[:2], "begins with"),
        (lambda b: b"", "begins with"),
        (lambda b: idx_bytes(np.zeros((12, 2, 2), np.uint8)), r"has \(12, 3, 2\) there"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_idx_is_refused(tmp_path, small_mnist, damage, message, packed):
    write_idx(tmp_path / "MNIST" / "raw", small_mnist, packed)
    file = tmp_path / "MNIST" / "raw" / ("train-images-idx3-ubyte" + ".gz" * packed)
    content = damage(gzip.decompress(file.read_bytes()) if packed else file.read_bytes())
    file.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message) as error:
        load("mnist", root=tmp_path)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"no gzip", lambda b: b[:20] + b"\xff" * 30]
)
def test_damaged_gzip_is_refused(tmp_path, small_mnist, damage):
    write_idx(tmp_path / "MNIST" / "raw", small_mnist, packed=True)
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"cannot be read|announces"):
        load("mnist", root=tmp_path)


@pytest.mark.skipif(not (REAL / "MNIST" / "raw").is_dir(), reason="LOWERBOUND_DATA holds no MNIST")
def test_real_mnist_is_the_original():
    data = load("mnist", root=REAL)
    assert [len(getattr(data, name)) for name in SPLITS] == [50_000, 10_000, 10_000]
    pixels = b"".join(stored(split).numpy().tobytes() for split in (data.train, data.valid))
    head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (60_000, 28, 28))
    assert hashlib.md5(head + pixels).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    assert data.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.mean.mean().item() == pytest.approx(0.1307, abs=3e-4)
    x, _ = next(iter(data.test.batches(256)))
    assert x.shape == (256, 1, 28, 28)
    assert x.mean().item() == pytest.approx(
        stored(data.test.take(256)).double().mean().item() / 255, abs=3e-3
    )


# ------------------------------------------------------------------ folders of images


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def photos(tmp_path, rng):
    """Two classes of grey images, 6x4."""
    arrays = rng.integers(0, 256, (10, 6, 4), dtype=np.uint8)
    for i, array in enumerate(arrays):
        write_image(tmp_path / "photos" / ("cat" if i < 6 else "dog") / f"{i}.png", array)
    return tmp_path / "photos", arrays


def test_folder_gives_bytes_with_sub_folders_as_labels(photos):
    folder, arrays = photos
    (folder / "notes.txt").write_text("not an image")
    (folder / "cat" / "Thumbs.db").write_text("litter")
    with pytest.warns(UserWarning, match=r"passed over 1 files that are no pictures: notes\.txt$"):
        data = load(folder)
    assert (data.spec.event_shape, data.spec.values, data.spec.levels) == ((1, 6, 4), "unit", 256)
    assert data.spec.source == str(folder)
    assert data.spec.classes == ("cat", "dog")
    assert data.train.rows.tensor.dtype == torch.uint8
    labels = torch.cat([getattr(data, name).labels for name in SPLITS])
    assert same_rows(everything(data)[labels == 0], arrays[:6])
    assert same_rows(everything(data)[labels == 1], arrays[6:])


def test_flat_folder_has_no_labels_and_colour_stays(tmp_path, rng):
    colour = rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    grey = rng.integers(0, 256, (2, 4, 5), dtype=np.uint8)
    for i, array in enumerate([*colour, *grey]):
        write_image(tmp_path / f"{i}.png", array)
    with pytest.warns(UserWarning, match=r"grey pictures among coloured ones .* \(2 of 5\)$"):
        data = load(tmp_path)
    assert data.spec.event_shape == (3, 4, 5)
    assert data.train.labels is None
    assert data.spec.classes is None
    expected = np.concatenate([colour.transpose(0, 3, 1, 2), np.repeat(grey[:, None], 3, 1)])
    assert same_rows(everything(data), expected)
    luma = np.array([Image.fromarray(a).convert("L") for a in [*colour, *grey]])
    assert same_rows(everything(load(tmp_path, channels=1)), luma)


def test_grey_saved_as_colour_is_grey_unless_asked(tmp_path, rng):
    for i in range(4):
        write_image(tmp_path / f"{i}.png", np.repeat(rng.integers(0, 256, (4, 4, 1), dtype=np.uint8), 3, 2))
    assert load(tmp_path).spec.event_shape == (1, 4, 4)
    assert load(tmp_path, channels=3).spec.event_shape == (3, 4, 4)


def test_mixed_sizes_are_brought_to_a_usual_one_or_to_that_which_is_named(tmp_path):
    white = np.full((20, 40, 3), 255, np.uint8)
    white[:, :10] = 0  # a dark left quarter, cut off by the centre crop
    white[:, :10, 1] = 90  # in colour
    for i in range(3):
        write_image(tmp_path / f"{i}.png", white)
    write_image(tmp_path / "x.png", white[:, 10:30])
    with pytest.warns(UserWarning, match=r"0\.png is 20x40 and x\.png 20x20.*cut to 20 x 20.*image_size="):
        data = load(tmp_path)
    assert data.spec.event_shape == (1, 20, 20)
    assert (everything(data) == 255).all()  # the middle of each
    large = tmp_path / "large"
    for i, size in enumerate(((200, 400), (300, 200), (300, 200))):
        write_image(large / f"{i}.png", np.full((*size, 3), 255, np.uint8))
    with pytest.warns(UserWarning, match=r"0\.png is 200x400 and 1\.png 300x200.*cut to 64 x 64"):
        assert load(large).spec.event_shape == (1, 64, 64)
    shutil.rmtree(large)
    center, stretch, pad = (
        everything(load(tmp_path, image_size=10, crop=crop, channels=3))
        for crop in ("center", "stretch", "pad")
    )
    assert center.shape == (4, 3, 10, 10)
    assert (center[..., 2:] == 255).all()
    assert sorted((stretch[:, 0, 5, 0] == 0).tolist()) == [False, True, True, True]
    assert (stretch[:, :, 5, 5:] == 255).all()
    assert sorted((pad[:, 0, 0] == 0).all(-1).tolist()) == [False, True, True, True]  # black above
    write_image(tmp_path / "x.png", white[:, :20])
    assert load(tmp_path, image_size=(8, 12), crop="stretch").spec.event_shape == (3, 8, 12)


def damaged(folder):
    good = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "dog" / "text.jpg").write_text("hello")
    (folder / "dog" / "empty.png").write_bytes(b"")
    return ("cat/cut.png", "dog/text.jpg", "dog/empty.png")


def test_corrupt_images_are_all_listed_and_refused(photos):
    folder, _ = photos
    names = damaged(folder)
    with pytest.raises(DataError, match="3 of 13 images") as error:
        load(folder)
    assert all(name in str(error.value) for name in names)
    assert "on_corrupt='skip'" in str(error.value)


def test_of_many_corrupt_images_the_first_are_named_and_the_others_counted(tmp_path):
    for i in range(300):
        (tmp_path / f"{i:03}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"300 of 300 images .* 007\.png .* and 292 more; repair") as error:
        load(tmp_path)
    assert "008.png" not in str(error.value)
    assert len(str(error.value)) < 2500


def test_corrupt_images_are_skipped_with_their_list(photos):
    folder, arrays = photos
    names = damaged(folder)
    with pytest.warns(UserWarning, match="left out, 3 of 13 images cannot be decoded: ") as record:
        data = load(folder, on_corrupt="skip")
    assert all(name in str(record[0].message) for name in names)
    assert same_rows(everything(data), arrays)


def test_folder_with_nothing_readable_is_refused(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.png").write_text("x")
    with pytest.raises(DataError, match="none is left"):
        load(tmp_path, on_corrupt="skip")


def test_folder_with_its_own_split(tmp_path, rng):
    arrays = rng.integers(0, 256, (6, 3, 3), dtype=np.uint8)
    for i, array in enumerate(arrays):
        write_image(tmp_path / SPLITS[i // 2] / "ab"[i % 2] / f"{i}.png", array)
    data = load(tmp_path)
    for i, name in enumerate(SPLITS):
        assert np.array_equal(stored(getattr(data, name))[:, 0], arrays[2 * i : 2 * i + 2])
        assert getattr(data, name).labels.tolist() == [0, 1]
    for file in (tmp_path / "valid").rglob("*.png"):
        file.unlink()
    with pytest.warns(UserWarning, match="no pictures of valid, so 1 of the 2 of train are taken"):
        data = load(tmp_path)
    assert same_rows(torch.cat([stored(data.train), stored(data.valid)]), arrays[:2])
    assert np.array_equal(stored(data.test)[:, 0], arrays[4:])
    for file in (tmp_path / "test").rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"has the sub-folders train; .* pass one of them alone"):
        load(tmp_path)


def test_unclear_folders_are_refused(photos, tmp_path):
    folder, arrays = photos
    write_image(folder / "loose.png", arrays[0])
    with pytest.raises(DataError, match=r"loose\.png.*cat"):
        load(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.md").write_text("")
    with pytest.raises(DataError, match=r"holds no images.*readme\.md"):
        load(tmp_path / "empty")


# ------------------------------------------------------------------ arrays and what they mean


@pytest.mark.parametrize(
    ("shape", "event", "kind"),
    [
        ((9, 7), (7,), "vector"),
        ((9, 7, 7), (1, 7, 7), "image"),
        ((9, 3, 7, 5), (3, 7, 5), "image"),
        ((9, 7, 5, 3), (3, 7, 5), "image"),
        ((9, 7, 5, 4), (4, 7, 5), "image"),
        ((9, 7, 5, 1), (1, 7, 5), "image"),
        ((9, 3, 4, 4), (3, 4, 4), "image"),  # squares
        ((9, 4, 4, 3), (3, 4, 4), "image"),
        ((9, 1, 5, 1), (1, 5, 1), "image"),  # the same numbers either way
    ],
)
@pytest.mark.parametrize("mapped", [True, False])
def test_axes_of_arrays(tmp_path, rng, shape, event, kind, mapped):
    x = rng.normal(size=shape)
    np.save(tmp_path / "x.npy", x)
    data = load(tmp_path / "x.npy" if mapped else x)
    assert (data.spec.event_shape, data.spec.kind, data.spec.values) == (event, kind, "real")
    last = len(shape) == 4 and shape[1] != event[0]
    expected = (x.transpose(0, 3, 1, 2) if last else x.reshape(9, *event)).astype(np.float32)
    assert same_rows(everything(data), expected)
    assert data.train.batch(torch.tensor([1]))[0].is_contiguous()


BITS = np.random.default_rng(0).integers(0, 2, (9, 3, 3))
UNIT = np.random.default_rng(0).random((9, 3, 3))
BYTES = np.random.default_rng(0).integers(0, 256, (9, 3, 3))


@pytest.mark.parametrize(
    ("x", "options", "values", "levels"),
    [
        (BITS, {}, "binary", None),
        (BITS.astype(np.uint8), {}, "binary", None),
        (BITS.astype(bool), {}, "binary", None),
        (BITS.astype(np.float32), {}, "binary", None),
        (BITS[:, 0], {}, "binary", None),
        (BITS, {"values": "real"}, "real", None),
        (UNIT, {}, "unit", None),
        (UNIT[:, 0], {}, "real", None),
        (UNIT[:, 0], {"values": "unit"}, "unit", None),
        (UNIT[:, 0], {"binarize": "dynamic"}, "binary", None),
        (UNIT + 0.5, {}, "real", None),
        (UNIT - 0.5, {}, "real", None),
        (BYTES.astype(np.uint8), {}, "unit", 256),
        (BYTES, {}, "unit", 256),
        (BYTES - 1, {}, "real", None),
        (BYTES + 1, {}, "real", None),
        (BYTES.astype(np.uint16), {"dequantize": False}, "unit", None),
        (BYTES.astype(np.uint8), {"values": "real"}, "real", None),
        (BYTES[:, 0].astype(np.uint8), {}, "real", None),
        (BYTES[:, 0].astype(np.uint8), {"values": "unit"}, "unit", 256),
        (BYTES[:, 0].astype(np.uint8), {"binarize": "static"}, "binary", None),
        (BYTES.astype(np.float16), {}, "real", None),
        (BYTES.astype(">f4"), {}, "real", None),
        (BYTES % 5, {"values": "categorical"}, "categorical", None),
        (BYTES.astype(np.float64) % 5, {"values": "categorical"}, "categorical", None),
    ],
)
def test_meaning_of_values(x, options, values, levels):
    data = load(x, **options)
    assert (data.spec.values, data.spec.levels) == (values, levels)
    assert data.spec.source == "array"
    batch, _ = data.train.batch(torch.arange(len(data.train)))
    assert batch.dtype == (torch.int64 if values == "categorical" else torch.float32)
    if values == "categorical":
        assert data.spec.categories == 5
    if values in ("real", "categorical"):
        assert same_rows(everything(data), x.astype(np.float32))
    if values == "unit" and levels is None:
        assert batch.max() <= 1
        assert batch.max() > 0.9


def test_tensors_and_data_sets_are_arrays(rng):
    x = torch.from_numpy(rng.normal(size=(20, 4)))
    y = torch.arange(20) % 3

    class Pairs(Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, i):
            return x[i], int(y[i])

    class Alone(Pairs):
        def __getitem__(self, i):
            return x[i].numpy()

    expected = load(x.numpy(), labels=y.numpy())
    for data in (load(x.clone().requires_grad_(), labels=y), load(TensorDataset(x, y)), load(Pairs())):
        assert torch.equal(everything(data), everything(expected))
        assert torch.equal(data.train.labels, expected.train.labels)
        assert data.spec == expected.spec
    for data in (load(Alone()), load(TensorDataset(x)), load(x)):
        assert torch.equal(everything(data), everything(expected))
        assert data.train.labels is None
    assert load(x.bfloat16()).spec.values == "real"


def test_labels_are_numbered_by_their_order(tmp_path):
    x = np.arange(60.0).reshape(20, 3)
    data = load(x, labels=["b", "a"] * 10)
    assert data.spec.classes == ("a", "b")
    assert torch.equal(data.train.labels, 1 - (stored(data.train)[:, 0] / 3).long() % 2)
    assert load(x, labels=np.array([7, -1] * 10)).spec.classes == ("-1", "7")
    assert load(x, labels=np.array([0.0, 3.0] * 10)).spec.classes == ("0", "3")
    np.save(tmp_path / "y.npy", np.arange(20))
    data = load(x, labels=tmp_path / "y.npy")
    assert torch.equal(data.valid.labels, (stored(data.valid)[:, 0] / 3).long())
    assert data.options["labels"] == str(tmp_path / "y.npy")


def test_npz_with_its_own_split_and_without(tmp_path, rng):
    parts = {name: rng.normal(size=(i + 1, 2)).astype(np.float32) for i, name in enumerate(SPLITS)}
    labels = {f"{name}_labels": np.arange(i + 1) for i, name in enumerate(SPLITS)}
    np.savez(tmp_path / "own.npz", **parts, **labels)
    data = load(tmp_path / "own.npz")
    for i, name in enumerate(SPLITS):
        assert np.array_equal(stored(getattr(data, name)), parts[name])
        assert getattr(data, name).labels.tolist() == list(range(i + 1))
    x = rng.normal(size=(10, 2))
    for names in (("X", "y"), ("x", "labels"), ("X", "Y"), ("x", "label")):
        np.savez(tmp_path / "usual.npz", **dict(zip(names, (x, np.arange(10) % 2), strict=True)))
        assert load(tmp_path / "usual.npz").spec.classes == ("0", "1")
    np.savez(tmp_path / "xy.npz", x=x, y=np.arange(10))
    np.savez_compressed(tmp_path / "one.npz", anything=x)
    assert torch.equal(everything(load(tmp_path / "xy.npz")), everything(load(x)))
    assert load(tmp_path / "xy.npz").test.labels is not None
    assert torch.equal(everything(load(tmp_path / "one.npz")), everything(load(x)))


@pytest.mark.parametrize(
    "options", [{}, {"binarize": "dynamic"}, {"binarize": "static"}, {"values": "categorical"}]
)
def test_mapped_files_read_as_arrays_do(tmp_path, rng, options):
    x = rng.integers(0, 256, (50, 3, 5), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    mapped, memory = load(tmp_path / "x.npy", **options), load(x, **options)
    for name in SPLITS:
        for (a, _), (b, _) in zip(
            getattr(mapped, name).batches(7), getattr(memory, name).batches(7), strict=True
        ):
            assert torch.equal(a, b)
    assert torch.equal(mapped.mean, memory.mean)
    assert torch.equal(mapped.std, memory.std)
    index = torch.tensor([9, 2, 2, 30])
    assert torch.equal(mapped.train.rows.read(index), memory.train.rows.read(index))
    assert len(mapped.train.take(6)) == 6


def test_mapped_files_stay_on_disk_and_are_read_forwards(tmp_path, monkeypatch, rng):
    monkeypatch.setattr("lowerbound.data.rows._CHUNK", 5 * 40)
    np.save(tmp_path / "x.npy", rng.normal(size=(300, 5)).astype(np.float32))
    asked = []
    read = np.memmap.__getitem__

    def spy(array, index):
        asked.append(index)
        return read(array, index)

    monkeypatch.setattr(np.memmap, "__getitem__", spy)
    data = load(tmp_path / "x.npy")
    assert isinstance(data.train.rows.array, np.memmap)
    assert data.mean.isfinite().all()
    data.to("cpu").train.batch(torch.randperm(240)[:32])
    rows = [i for i in asked if isinstance(i, np.ndarray)]
    assert all((np.diff(i) >= 0).all() for i in rows)
    assert max(len(i) for i in rows) <= 40
    assert max(i.stop - i.start for i in asked if isinstance(i, slice)) <= 40


# ------------------------------------------------------------------ tables


@pytest.fixture
def frame(rng):
    return pd.DataFrame(
        {"a": rng.normal(size=12), "b": np.arange(12), "c": rng.random(12) > 0.5, "kind": ["x", "y", "z"] * 4}
    )


@pytest.mark.parametrize("form", ["csv", "parquet", "frame"])
def test_tables_keep_columns_and_take_one_as_label(tmp_path, frame, form):
    source = frame if form == "frame" else tmp_path / f"t.{form}"
    if form == "csv":
        frame.to_csv(source, index=False)
    elif form == "parquet":
        frame.to_parquet(source)
    data = load(source, label_column="kind")
    assert data.spec.columns == ("a", "b", "c")
    assert data.spec.classes == ("x", "y", "z")
    assert (data.spec.kind, data.spec.values, data.spec.event_shape) == ("vector", "mixed", (3,))
    assert [c.kind for c in data.spec.table] == ["real", "integer", "category"]
    assert same_rows(everything(data), frame[["a", "b", "c"]].astype(np.float32))
    assert torch.equal(data.train.labels, stored(data.train)[:, 1].long() % 3)
    two = load(source, columns=["c", "a"])
    assert two.spec.columns == ("c", "a")
    assert two.train.labels is None
    assert same_rows(everything(two), frame[["c", "a"]].astype(np.float32))


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("1.5,2\n3,4\n5,6\n7,8\n", ("0", "1"), 4),
        ("0,1\n3,4\n5,6\n7,8\n", ("0", "1"), 3),
        ("u,v\n3,4\n5,6\n7,8\n", ("u", "v"), 3),
    ],
)
def test_csv_without_a_header_loses_no_row(tmp_path, text, columns, rows):
    (tmp_path / "t.csv").write_text(text)
    data = load(tmp_path / "t.csv")
    assert data.spec.columns == columns
    assert sum(len(getattr(data, name)) for name in SPLITS) == rows


def test_nullable_columns_without_gaps_are_numbers():
    frame = pd.DataFrame({"a": pd.array([1, 2, 3, 4], "Int64"), "b": pd.array([1.5, 2, 3, 4], "Float32")})
    assert same_rows(everything(load(frame)), [[1, 1.5], [2, 2], [3, 3], [4, 4]])


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"kind": [{}] * 12}, {}, DataError, r"column 'kind' holds dict.*columns="),
        ({"kind": [1 + 2j] * 12}, {}, DataError, r"column 'kind' holds complex128"),
        (
            {"kind": [*"xyzxyzxyzx", None, None]},
            {"label_column": "kind"},
            DataError,
            r"labels .* missing for 2 examples, the first in row 10",
        ),
        (
            {"a": [1.0] * 5 + [np.inf] * 7},
            {"columns": ["b", "a"]},
            DataError,
            r"column 'a' has an infinite number in row 5",
        ),
        ({}, {"columns": ["a", "bb"]}, ConfigError, r"no column 'bb'; did you mean 'b'"),
        ({}, {"label_column": "kin"}, ConfigError, r"did you mean 'kind'"),
        ({}, {"label_column": "a", "columns": ["a"]}, ConfigError, r"contains label_column='a'"),
        ({}, {"columns": ["a", "a"]}, ConfigError, r"repeats a column"),
        ({}, {"columns": []}, DataError, r"0 columns of data"),
        ({"a": 1.0, "b": 2}, {"columns": ["a", "b"]}, DataError, r"nothing to learn from.*'a' \(constant\)"),
        ({}, {"label_column": "kind", "labels": [1] * 12}, ConfigError, r"give one of them"),
    ],
)
def test_tables_that_are_no_numbers_are_refused(frame, change, options, error, message):
    with pytest.raises(error, match=message):
        load(frame.assign(**change), **options)


@pytest.mark.parametrize("content", ["", "a,b\n1,2,3\n1,2,3,4,5\n", "a,b\n"])
def test_malformed_csv_is_refused(tmp_path, content):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=r"t\.csv"):
        load(tmp_path / "t.csv")


def test_malformed_tables_are_refused(tmp_path):
    (tmp_path / "t.parquet").write_text("no parquet")
    (tmp_path / "t.feather").write_bytes(b"a,b\n\xff\xfe,1\n")
    for name in ("t.parquet", "t.feather"):
        with pytest.raises(DataError, match="cannot be read as a table"):
            load(tmp_path / name)
    with pytest.raises(DataError, match="several columns named a"):
        load(pd.DataFrame(np.ones((4, 2)), columns=["a", "a"]))


@pytest.mark.parametrize(("missing", "file"), [("pandas", "t.csv"), ("pyarrow", "t.parquet")])
def test_missing_extra_is_named(tmp_path, monkeypatch, frame, missing, file):
    frame.to_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "pyarrow":
        monkeypatch.setattr(pd, "read_parquet", raise_import_error)
    with pytest.raises(ConfigError, match=r"pip install lowerbound\[tables\]"):
        load(tmp_path / file)


def raise_import_error(*_):
    raise ImportError("Unable to find a usable engine")


# ------------------------------------------------------------------ what is refused


class Items(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2)


GOOD = np.random.default_rng(0).normal(size=(10, 2))
IMAGES = np.zeros((10, 4, 4), np.uint8) + 7
NAN = np.where(np.arange(20).reshape(10, 2) == 13, np.nan, GOOD)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("mnits", {}, DataError, r"did you mean 'mnist'"),
        ("fashion_mnist", {}, DataError, r"did you mean 'fashion-mnist'"),
        ("mnist", {"root": "/no/such/folder"}, DataError, r"root='/no/such/folder' is not a folder"),
        ("digits", {"split": (0.5, 0.5)}, ConfigError, r"three positive shares"),
        ("digits", {"split": 0.8}, ConfigError, r"three positive shares"),
        ("digits", {"split": (0.8, 0.2, 0.0)}, ConfigError, r"three positive shares"),
        ("digits", {"split": (0.8, 0.1, 0.2)}, ConfigError, r"sum to 1"),
        ("digits", {"seed": -1}, ConfigError, r"seed=-1"),
        ("digits", {"binarize": "dinamic"}, ConfigError, r"did you mean 'dynamic'"),
        ("digits", {"values": "float"}, ConfigError, r"options: None, binary"),
        ("digits", {"crop": "centre"}, ConfigError, r"did you mean 'center'"),
        ("digits", {"on_corrupt": "ignore"}, ConfigError, r"options: refuse, skip"),
        ("digits", {"channels": 2}, ConfigError, r"channels=2"),
        ("digits", {"image_size": 16}, ConfigError, r"image_size=16 is for folders of images"),
        ("digits", {"columns": ["a"]}, ConfigError, r"columns=\['a'\] is for tables"),
        ("digits", {"values": "unit", "binarize": "static"}, ConfigError, r"leave one out"),
        ("digits", {"labels": [0, 1]}, DataError, r"labels .* shape \(2,\), but there are 1797"),
        (GOOD, {"image_size": 16}, ConfigError, r"image_size"),
        (IMAGES, {"image_size": 0}, ConfigError, r"image_size=0"),
        (IMAGES, {"image_size": (3, 4, 5)}, ConfigError, r"image_size=\[3, 4, 5\]"),
        (GOOD, {"binarize": "dynamic"}, ConfigError, r"needs grey levels .* float64 in \[-"),
        (GOOD, {"values": "binary"}, ConfigError, r"needs zeros and ones only"),
        (GOOD, {"values": "unit"}, ConfigError, r"needs floats in \[0, 1\]"),
        (GOOD, {"values": "categorical"}, ConfigError, r"whole numbers"),
        (-IMAGES.astype(int), {"values": "categorical"}, ConfigError, r"whole numbers 0"),
        (IMAGES, {"values": "binary"}, ConfigError, r"in \[7, 7\]"),
        (IMAGES.astype(int) * 100, {"binarize": "threshold"}, ConfigError, r"int64 in \[700, 700\]"),
        (IMAGES, {"labels": np.zeros((10, 2))}, DataError, r"shape \(10, 2\)"),
        (IMAGES, {"labels": np.full(10, 0.5)}, DataError, r"whole numbers or strings"),
        (IMAGES, {"labels": "/no/such.npy"}, DataError, r"such\.npy"),
        (np.where(np.isnan(NAN), np.inf, NAN), {}, DataError, r"1 values .* example 6, position \(1,\)"),
        (np.full((5, 2), np.nan), {}, DataError, r"all are missing"),
        (1e9 + NAN, {}, DataError, r"column 0 lies between .*float32 hardly tells apart"),
        (np.full((4, 2, 2), np.inf), {}, DataError, r"16 values .* example 0, position \(0, 0, 0\)"),
        (np.full((4, 2), 1e300), {}, DataError, r"beyond float32"),
        (np.zeros((0, 3)), {}, DataError, r"is empty: shape \(0, 3\)"),
        (np.zeros((5, 0)), {}, DataError, r"is empty"),
        (np.zeros(7), {}, DataError, r"shape \(7,\).*\(N, 1\)"),
        (np.zeros((5, 6, 6, 6)), {}, DataError, r"1, 3 or 4 channels"),
        (np.zeros((5, 1, 6, 6, 6)), {}, DataError, r"shape \(5, 1, 6, 6, 6\)"),
        (np.array([[1, "a"]] * 5), {}, DataError, r"dtype <U"),
        (np.array([[{}]] * 5), {}, DataError, r"dtype object"),
        (np.ones((5, 2), complex), {}, DataError, r"dtype complex128"),
        (np.ones((2, 2)), {}, DataError, r"2 examples"),
        (torch.eye(3).to_sparse(), {}, DataError, r"dense"),
        (Stream(), {}, DataError, r"map-style"),
        (Items(), {}, DataError, r"is empty"),
        (Items(np.ones(2), np.ones(3), np.ones(2)), {}, DataError, r"item 1 has \(3,\)"),
        (Items(*[(1, 2, 3)] * 4), {}, DataError, r"3 entries"),
        (Items(*[{"x": 1}] * 4), {}, DataError, r"nothing to learn from.*'x' \(constant\)"),
        (TensorDataset(*[torch.ones(5, 2)] * 3), {}, DataError, r"3 entries"),
        ([[1, 2], [3, 4]], {}, DataError, r"2 examples; train, valid and test need"),
        (None, {}, DataError, r"cannot load a NoneType"),
    ],
)
def test_wrong_input_is_refused_with_its_remedy(source, options, error, message):
    with pytest.raises(error, match=message):
        load(source, **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pkl", pickle.dumps(np.ones(3)), "any code"),
        ("a.pt", b"", "any code"),
        ("a.mp4", b"", r"readable are \.npy"),
        ("a", b"", r"readable are \.npy"),
        ("a.npy", b"", "cannot be read"),
        ("a.npy", b"no array at all", "cannot be read"),
        ("a.npy", pickle.dumps(np.ones(3)), "cannot be read"),
        ("a.npz", b"no archive", "cannot be read"),
        ("a.npz", b"PK\x03\x04 cut", "cannot be read"),
    ],
)
def test_files_that_hold_no_numbers_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name)


def test_objects_in_arrays_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "a.npy", np.array([Trap()] * 5, dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([Trap()] * 5, dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="cannot be read"):
            load(tmp_path / name)


def test_truncated_npy_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", GOOD)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-10])
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train": GOOD, "test": GOOD}, "lacks valid"),
        ({"train": GOOD, "valid": GOOD, "test": GOOD[:, :1]}, "differ in shape"),
        ({"train": GOOD, "valid": GOOD, "test": GOOD, "test_labels": np.ones(10)}, "some parts only"),
        ({"images": GOOD, "targets": GOOD}, "name the arrays"),
        ({"x": GOOD, "y": np.ones(3)}, r"shape \(3,\), but there are 10"),
        ({}, "nothing"),
    ],
)
def test_unclear_npz_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npz")


def test_own_split_takes_no_other(tmp_path):
    np.savez(tmp_path / "a.npz", train=GOOD, valid=GOOD, test=GOOD)
    with pytest.raises(ConfigError, match="split of its own"):
        load(tmp_path / "a.npz", split=(0.6, 0.2, 0.2))
    with pytest.raises(ConfigError, match="labels="):
        load(tmp_path / "a.npz", labels=np.ones(30))


def test_missing_path_names_the_nearest(tmp_path):
    (tmp_path / "faces.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"did you mean .*faces\.npy"):
        load(tmp_path / "face.npy")
    with pytest.raises(DataError, match=r"'nowhere' is not in"):
        load(tmp_path / "nowhere" / "deep" / "a.npy")


# ------------------------------------------------------------------ options


def test_options_are_json_and_load_the_same_data(photos, frame, tmp_path):
    folder, _ = photos
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source, options in (
        ("digits", {"split": (0.5, 0.25, 0.25), "seed": 3}),
        (folder, {"image_size": (3, 3), "crop": "pad", "binarize": "static"}),
        (tmp_path / "t.csv", {"columns": ("b", "a"), "label_column": "kind"}),
    ):
        data = load(source, **options)
        again = load(data.spec.source, **json.loads(json.dumps(data.options)))
        assert again.spec == data.spec
        assert again.options == data.options
        assert torch.equal(stored(again.test), stored(data.test))
    assert load("digits").options["binarize"] == "dynamic"


def test_repr_tells_the_essentials():
    text = repr(load("digits"))
    for part in ("'digits'", "(1, 8, 8)", "dynamic", "train 1437", "10 classes"):
        assert part in text
    assert "256 levels" in repr(load(BYTES))
    assert "categories 0..4" in repr(load(BYTES % 5, values="categorical"))
    assert "real" in repr(load(GOOD))
