"""Data larger than memory: the examples are those in memory, the order is as good as said, the memory as little."""

import gc
import io
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import lowerbound as lb
from lowerbound.data import blocks, files, load
from lowerbound.data.memory import available_memory, cap_of
from lowerbound.data.window import Window, spread
from lowerbound.errors import ConfigError, DataError
from lowerbound.persistence import open_data, read_config
from lowerbound.training import load_tensors

MIB = 2**20
SPLITS = ("train", "valid", "test")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def images(rng):
    """240 coloured images of bytes, (N, H, W, C)."""
    return rng.integers(0, 256, (240, 6, 4, 3), dtype=np.uint8)


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def write_tar(path, members):
    """A shard of members (name, content)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(examples, kind="png", start=0, labels=None):
    """Members of one sample for each example, as the webdataset package names them."""
    write = png if kind == "png" else npy
    for i, example in enumerate(examples, start):
        yield f"{i:06}.{kind}", write(example)
        if labels is not None:
            yield f"{i:06}.cls", str(labels[i]).encode()


def write_shards(folder, examples, kind="png", size=50, labels=None):
    for number, start in enumerate(range(0, len(examples), size)):
        part = examples[start : start + size]
        write_tar(folder / f"{number:03}.tar", samples(part, kind, start, labels))
    return folder


def write_lists(path, array, rows=10, fixed=True):
    """A table with a column of lists, as deep as the array has axes beside the first."""
    values = pa.array(array.reshape(-1))
    for length in array.shape[:0:-1]:
        if fixed:
            values = pa.FixedSizeListArray.from_arrays(values, length)
        else:
            ends = pa.array(np.arange(0, len(values) + 1, length, dtype=np.int32))
            values = pa.ListArray.from_arrays(ends, values)
    pq.write_table(pa.table({"x": values}), path, row_group_size=rows)
    return path


def write_pictures(path, images, rows=10, struct=True):
    contents = [png(image) for image in images]
    column = [{"bytes": content, "path": None} for content in contents] if struct else contents
    pq.write_table(
        pa.table({"image": column, "label": np.arange(len(images)) % 4}), path, row_group_size=rows
    )
    return path


def stored(split):
    return split.rows.read(torch.arange(len(split)))


# ------------------------------------------------------------------ the same examples as in memory


def make(form, tmp_path, images):
    """A source in each form, with what its examples are."""
    chw = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    if form == "npy":
        np.save(tmp_path / "x.npy", images)
        return tmp_path / "x.npy", {}, chw
    if form == "npy in Fortran's order":
        np.save(tmp_path / "x.npy", np.asfortranarray(images))
        return tmp_path / "x.npy", {}, chw
    if form == "table":
        values = images.reshape(240, -1)[:, :5].astype(np.float64) / 7
        pd.DataFrame(values, columns=list("abcde")).to_parquet(tmp_path / "x.parquet", row_group_size=10)
        return tmp_path / "x.parquet", {}, torch.from_numpy(values).float()
    if form == "table of whole numbers":
        table = pd.DataFrame(
            {"a": images[:, 0, 0, 0], "b": images[:, 0, 0, 1] > 99}, index=np.arange(240) * 3 + 1
        )
        table.to_parquet(tmp_path / "x.parquet", row_group_size=10)
        return tmp_path / "x.parquet", {}, torch.from_numpy(table.to_numpy(np.float32))
    if form.endswith("lists"):
        return write_lists(tmp_path / "x.parquet", images, fixed=form == "fixed lists"), {}, chw
    if form in ("struct pictures", "bytes pictures"):
        path = write_pictures(tmp_path / "x.parquet", images, struct=form == "struct pictures")
        return path, {"label_column": "label"}, chw
    if form == "folder of tables":
        for i in range(4):
            write_lists(tmp_path / "t" / f"{i}.parquet", images[60 * i : 60 * i + 60])
        return tmp_path / "t", {}, chw
    if form == "shards of arrays":
        return write_shards(tmp_path / "s", images, "npy"), {}, chw
    if form == "one shard of pictures":
        return write_tar(tmp_path / "s.tar", samples(images)), {}, chw
    return write_shards(tmp_path / "s", images, labels=np.arange(240) % 3), {}, chw


FORMS = [
    "npy",
    "npy in Fortran's order",
    "table",
    "table of whole numbers",
    "fixed lists",
    "lists",
    "struct pictures",
    "bytes pictures",
    "folder of tables",
    "shards of arrays",
    "one shard of pictures",
    "shards of pictures",
]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_streamed_examples_are_those_in_memory_and_those_written(tmp_path, images, form):
    (tmp_path / "t").mkdir()
    source, options, expected = make(form, tmp_path, images)
    streamed = load(source, stream=True, memory=16 * 24 * 20 / MIB, **options)
    held = load(source, stream=False, **options)
    assert streamed.options["stream"] is True
    assert held.options["stream"] is False
    assert (streamed.spec.kind, streamed.spec.values) == (held.spec.kind, held.spec.values)
    assert streamed.spec == held.spec
    assert torch.equal(stored(streamed.all), expected)
    assert torch.equal(stored(held.all), expected)
    if held.train.labels is not None:
        assert torch.equal(
            streamed.all.labels, torch.arange(240) % (3 if form == "shards of pictures" else 4)
        )
        assert torch.equal(held.all.labels, streamed.all.labels)
    assert sorted(np.concatenate([getattr(streamed, name).rows.index for name in SPLITS])) == list(range(240))
    whole = streamed.train.batches(1000)
    x = next(iter(whole))[0]
    assert torch.equal(torch.cat([x for x, _ in streamed.train.batches(7)]), x)
    # Moments block by block are those of all at once.
    values = streamed.train.reading.expected(stored(streamed.train))
    assert torch.allclose(streamed.mean.double(), values.mean(0), rtol=1e-6)


def test_any_index_is_read(tmp_path, images):
    np.save(tmp_path / "x.npy", images)
    data = load(tmp_path / "x.npy", stream=True, memory=72 * 12 / MIB)
    rows = data.train.rows
    assert isinstance(rows.window, Window)
    assert rows.window.length < 20 < len(rows.window.blocks.counts)  # of the index below not all blocks fit
    index = torch.randint(0, len(rows), (500,))
    expected = images.transpose(0, 3, 1, 2)[rows.index[index]]
    assert np.array_equal(rows.read(index), expected)
    assert rows.read(torch.empty(0, dtype=torch.long)).shape == (0, 3, 6, 4)
    assert np.array_equal(
        stored(data.train.select(np.array([9, 2, 2, 70]))),
        images.transpose(0, 3, 1, 2)[rows.index[[9, 2, 2, 70]]],
    )
    assert len(data.train.take(3)) == 3
    assert data.to("cpu").train.rows.window is rows.window
    assert data.to("meta").train.rows.read(index).device.type == "meta"


# ------------------------------------------------------------------ the order


def lengths_of(seed=0, count=200):
    return np.random.default_rng(seed).integers(20, 40, count)


def block_numbers(lengths):
    return torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("window", [1, 5, 1000])
def test_every_example_once_over_the_ranks_and_blocks_are_not_shared(window, world):
    block = block_numbers(lengths_of())
    shares, opened = zip(*(spread(block, window, 3, rank, world) for rank in range(world)), strict=True)
    assert torch.equal(torch.cat(shares).sort()[0], torch.arange(len(block)))
    sizes = [len(share) for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1
    for share, blocks_of in zip(shares, opened, strict=True):
        assert set(block[share].tolist()) == set(blocks_of.tolist())
    assert len(torch.cat(opened)) - 200 <= world - 1  # at a border between ranks a block is cut in two


@pytest.mark.parametrize("window", [1, 4, 30])
def test_no_more_blocks_are_open_than_the_window_has(window):
    block = block_numbers(lengths_of())
    order, opened = spread(block, window, 0, 0, 1)
    visits = block[order].numpy()
    first = np.array([np.flatnonzero(visits == b)[0] for b in opened.tolist()])
    last = np.array([np.flatnonzero(visits == b)[-1] for b in opened.tolist()])
    # Blocks are over in the order in which they began, so the window slides. A block's first and last visit lie
    # inside its time on the clock, so no more than the window can be between the two.
    between = ((first[:, None] <= first) & (last[:, None] >= first)).sum(0)
    assert between.max() == (window if window == 1 else pytest.approx(window, abs=1))
    assert between.max() <= window


@pytest.mark.slow
def test_a_whole_window_is_a_uniform_permutation():
    block = block_numbers([3, 1, 2])
    counts = np.zeros((6, 6))
    tries = 6000
    for seed in range(tries):
        order, _ = spread(block, 3, seed, 0, 1)
        counts[order.numpy(), np.arange(6)] += 1
    assert np.abs(counts / tries - 1 / 6).max() < 5 * np.sqrt(5 / 36 / tries)


def test_neighbours_meet_in_a_batch_as_often_as_said():
    m, count, window, batch = 40, 400, 20, 50
    block = block_numbers([m] * count)
    met, tries = 0, 20
    for seed in range(tries):
        order, _ = spread(block, window, seed, 0, 1)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        neighbours = block[1:] == block[:-1]
        met += (
            (place[1:] // batch == place[:-1] // batch) & neighbours
        ).sum().item() / neighbours.sum().item()
    said = batch / (window * m)
    # Near the ends of an epoch blocks are open for a shorter time: 2 windows of 20 blocks out of 400.
    assert said < met / tries < 1.12 * said
    shuffled = batch / (m * count)
    assert met / tries > 15 * shuffled  # and that is B / W = 20 times as often as in a full shuffle


def test_file_order_leaves_no_trace_in_the_epoch():
    block = block_numbers([25] * 400)
    order, _ = spread(block, 16, 1, 0, 1)
    n = len(order)
    ranks = np.corrcoef(np.arange(n), order.numpy())[0, 1]
    assert abs(ranks) < 4 / np.sqrt(400)  # blocks are what is permuted
    for part in (order[:64], order[n // 2 : n // 2 + 64], order[-64:]):
        assert len(block[part].unique()) >= 10  # of 16 that are open, at the ends of an epoch too
    # Within a block the order is random: no run of neighbours, no correlation.
    inside = torch.arange(n) % 25
    visits = torch.stack([inside[order][block[order] == b] for b in range(400)])
    means = visits.double().mean(0)
    assert (means - 12).abs().max() < 4.5 * np.sqrt((25**2 - 1) / 12 / 400)


def test_order_is_a_function_of_its_arguments(tmp_path, images):
    np.save(tmp_path / "x.npy", images)
    one, two = (load(tmp_path / "x.npy", stream=True, memory=72 * 30 / MIB).train for _ in range(2))
    torch.rand(3)
    assert torch.equal(one.order(4, 1, 3), two.order(4, 1, 3))
    assert not torch.equal(one.order(4, 1, 3), one.order(5, 1, 3))
    state = torch.get_rng_state()
    one.order(9)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        one.order(0, 2, 2)


def test_a_pass_from_the_middle_gives_what_the_whole_pass_gives(tmp_path, images):
    source = write_shards(tmp_path / "s", images, labels=np.arange(240) % 3)
    options = {"stream": True, "memory": 72 * 40 / MIB, "condition": "label", "binarize": "dynamic"}

    def batches(first):
        split = load(source, **options).train
        order = split.order(7)
        for step, index in enumerate(order.split(16)):
            if step >= first:
                torch.manual_seed(step)
                yield split.batch(index)

    whole, rest = list(batches(0)), list(batches(5))
    assert len(whole) == 12
    for (x, c), (again, condition) in zip(whole[5:], rest, strict=True):
        assert torch.equal(x, again)
        assert torch.equal(c["label"], condition["label"])


def test_an_epoch_decodes_every_block_once_and_two_ranks_none_in_common(tmp_path, images, monkeypatch):
    path = write_lists(tmp_path / "x.parquet", images, rows=4)
    read = []
    whole = files.ParquetBlocks.read
    split = load(path, stream=True, memory=72 * 4 * 18 / MIB).train
    monkeypatch.setattr(
        files.ParquetBlocks, "read", lambda self, block: (read.append(block), whole(self, block))[1]
    )
    assert (split.rows.window.length, len(set(split.rows.window.blocks.block_of(split.rows.index)))) == (
        17,
        48,
    )
    for seed in range(3):
        seen = [split.batch(index)[0] for index in split.order(seed).split(2)]
        assert sum(map(len, seen)) == len(split)
    own = split.rows.window.blocks.block_of(split.rows.index)
    # What the window still holds from the last pass is not read again.
    assert len(read) <= 3 * 48
    assert sorted(set(read)) == sorted(set(own.tolist()))
    shares = []
    for rank in range(2):
        read.clear()
        split = load(path, stream=True, memory=72 * 4 * 18 / MIB).train
        read.clear()
        for index in split.order(1, rank, 2).split(2):
            split.batch(index)
        assert len(read) == len(set(read)) == 24
        shares.append(set(read))
    assert not shares[0] & shares[1]


# ------------------------------------------------------------------ the thread that reads ahead


@pytest.mark.slow
def test_blocks_are_read_ahead_by_a_thread_that_ends_with_the_data(tmp_path, images, monkeypatch):
    path = write_lists(tmp_path / "x.parquet", images, rows=4)
    split = load(path, stream=True, memory=72 * 4 * 6 / MIB).train
    by = []
    whole = files.ParquetBlocks.read

    def spy(self, block):
        by.append(threading.current_thread().name)
        return whole(self, block)

    monkeypatch.setattr(files.ParquetBlocks, "read", spy)
    for index in split.order(0).split(2):
        split.batch(index)
    assert sum(name.startswith("lowerbound-read-ahead") for name in by) > len(by) / 2
    assert any(t.name.startswith("lowerbound-read-ahead") for t in threading.enumerate())
    del split
    gc.collect()
    end = time.monotonic() + 20
    while any(t.name.startswith("lowerbound-read-ahead") for t in threading.enumerate()):
        assert time.monotonic() < end, "the thread lives on"
        time.sleep(0.01)


def test_an_error_ahead_is_raised_where_the_block_is_needed_and_can_be_overcome(
    tmp_path, images, monkeypatch
):
    path = write_lists(tmp_path / "x.parquet", images, rows=4)
    split = load(path, stream=True, memory=72 * 4 * 6 / MIB).train
    order = split.order(0)
    own = split.rows.window.blocks.block_of(split.rows.index)
    bad = int(own[order[len(order) // 2]])
    whole = files.ParquetBlocks.read
    broken = [True]

    def read(self, block):
        if block == bad and broken[0]:
            raise DataError(f"block {block} is damaged")
        return whole(self, block)

    monkeypatch.setattr(files.ParquetBlocks, "read", read)
    batches = iter(order.split(2))
    good = 0

    def go_on():
        nonlocal good
        for index in batches:
            split.batch(index)
            good += 1

    with pytest.raises(DataError, match=f"block {bad} is damaged"):
        go_on()
    assert good > 10
    broken[0] = False
    x = torch.cat([split.batch(index)[0] for index in order.split(2)])
    assert len(x) == len(order)


@pytest.mark.processes
def test_an_interpreter_ends_while_blocks_are_coming(tmp_path, images):
    np.save(tmp_path / "x.npy", np.tile(images, (20, 1, 1, 1)))
    code = (
        "from lowerbound.data import load\n"
        f"split = load({str(tmp_path / 'x.npy')!r}, stream=True, memory=0.0137).train\n"
        "split.batch(split.order(0)[:2])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# ------------------------------------------------------------------ splits


def test_splits_are_of_whole_blocks_by_the_seed_and_their_shares(tmp_path, images):
    path = write_lists(tmp_path / "x.parquet", images, rows=5)
    data, same, other = (load(path, stream=True, seed=seed, split=(0.5, 0.3, 0.2)) for seed in (0, 0, 1))
    blocks_of = [set((getattr(data, name).rows.index // 5).tolist()) for name in SPLITS]
    assert [len(getattr(data, name)) for name in SPLITS] == [120, 70, 50]
    assert sum(map(len, blocks_of)) == len(set.union(*blocks_of)) == 48
    assert np.array_equal(same.train.rows.index, data.train.rows.index)
    assert not np.array_equal(other.train.rows.index, data.train.rows.index)


@pytest.mark.parametrize("layout", ["folders", "names"])
@pytest.mark.parametrize("form", ["tar", "parquet"])
@pytest.mark.parametrize("stream", [True, False])
def test_folders_keep_their_own_split(tmp_path, images, layout, form, stream):
    for name, start, stop in (("train", 0, 100), ("valid", 100, 150), ("test", 150, 240)):
        for i, at in enumerate(range(start, stop, 50)):
            part = images[at : min(at + 50, stop)]
            file = f"{i}.{form}" if layout == "folders" else f"{name}-{i}.{form}"
            path = tmp_path / "x" / (name if layout == "folders" else ".") / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if form == "tar":
                write_tar(path, samples(part, start=at))
            else:
                write_lists(path, part)
    data = load(tmp_path / "x", stream=stream)
    for name, start, stop in (("train", 0, 100), ("valid", 100, 150), ("test", 150, 240)):
        assert np.array_equal(stored(getattr(data, name)), images[start:stop].transpose(0, 3, 1, 2))
    with pytest.raises(ConfigError, match="has a split of its own"):
        load(tmp_path / "x", stream=stream, split=(0.5, 0.25, 0.25))


def test_an_own_split_shares_one_window_and_reads_no_other_part(tmp_path, images, monkeypatch):
    for name, start in (("train", 0), ("valid", 80), ("test", 160)):
        (tmp_path / "x" / name).mkdir(parents=True)
        write_lists(tmp_path / "x" / name / "a.parquet", images[start : start + 80], rows=8)
    data = load(tmp_path / "x", stream=True, memory=72 * 8 * 4 / MIB)
    assert data.train.rows.window is data.test.rows.window
    whole, read = files.ParquetBlocks.read, set()
    monkeypatch.setattr(
        files.ParquetBlocks,
        "read",
        lambda self, block: (read.add(self._paths[0].parent.name), whole(self, block))[1],
    )
    for index in data.train.order(0).split(4):
        data.train.batch(index)
    assert read == {"train"}


# ------------------------------------------------------------------ labels, conditions, and what a run remembers


def test_labels_and_conditions_of_shards(tmp_path, images):
    members = []
    for i, image in enumerate(images):
        entries = {
            "kind": "cat" if i % 3 else None,
            "angle": i / 2 if i % 5 else None,
            "side": "lr"[i % 2],
            "other": [1],
        }
        members += [
            (f"a/{i}.rgb.png", png(image)),
            (f"a/{i}.json", json.dumps(entries).encode()),
            (f"a/{i}.txt", b"?"),
        ]
    path = write_tar(tmp_path / "x.tar", members)
    for stream in (True, False):
        data = load(path, stream=stream, label_column="side", condition=["label", "angle", "kind"])
        _, c = data.all.batch(torch.arange(240))
        assert data.spec.classes == ("l", "r")
        assert torch.equal(c["label"], torch.arange(240) % 2)
        assert torch.equal(c["kind"] < 0, torch.arange(240) % 3 == 0)
        angle = torch.where(torch.arange(240) % 5 == 0, torch.nan, torch.arange(240) / 2)
        assert torch.equal(c["angle"][:, 0].nan_to_num(-1), angle.nan_to_num(-1))
        assert data.spec.event_shape == (3, 6, 4)


def test_labels_and_conditions_of_tables_are_those_in_memory(tmp_path, rng):
    table = pd.DataFrame(rng.normal(size=(200, 3)), columns=list("abc"))
    table["d"] = np.where(np.arange(200) % 7 == 0, np.nan, np.arange(200.0))
    table["word"] = np.where(np.arange(200) % 5 == 0, None, np.array(["u", "v"])[np.arange(200) % 2])
    table["y"] = np.arange(200) % 4
    table.to_parquet(tmp_path / "x.parquet", row_group_size=10)
    options = {"label_column": "y", "condition": ["label", "d", "word"], "columns": ["c", "a"]}
    streamed, held = (load(tmp_path / "x.parquet", stream=stream, **options) for stream in (True, False))
    (x, c), (expected, condition) = (data.all.batch(torch.arange(200)) for data in (streamed, held))
    assert streamed.spec == held.spec
    assert torch.equal(x, expected)
    for name in c:
        assert torch.equal(c[name].nan_to_num(-1), condition[name].nan_to_num(-1))


def test_pictures_are_brought_to_one_form(tmp_path, images):
    grey = np.array([np.array(Image.fromarray(image).convert("L")) for image in images[:20]])
    colour = write_tar(tmp_path / "colour.tar", samples(images[:20]))
    assert np.array_equal(stored(load(colour, channels=1, stream=True).all)[:, 0], grey)
    mixed = write_tar(tmp_path / "mixed.tar", [*samples(images[:10]), *samples(grey[10:], start=10)])
    assert load(mixed, stream=True).spec.event_shape == (3, 6, 4)
    data = load(mixed, stream=True, image_size=5, crop="stretch")
    assert data.spec.event_shape == (3, 5, 5)
    first_grey = write_tar(tmp_path / "grey.tar", [*samples(grey[:10]), *samples(images[10:20], start=10)])
    with pytest.raises(
        DataError, match=r"grey\.tar: 000010\.png.*in colour, but the first picture is grey.*channels="
    ):
        load(first_grey, stream=True)
    assert load(first_grey, channels=3).spec.event_shape == (3, 6, 4)


@pytest.mark.runs
def test_a_run_reads_its_data_again_as_they_were(tmp_path, images, monkeypatch):
    np.save(tmp_path / "x.npy", images)
    data = load(tmp_path / "x.npy", stream=True, memory=5000 / MIB)
    model = lb.VAE.for_data(data, latent=2, network={"type": "mlp", "hidden": [4]})
    lb.fit(model, data, epochs=1, out=tmp_path / "run", progress=False)
    monkeypatch.setattr(files, "available_memory", lambda: 2**40)
    again = open_data(read_config(tmp_path / "run"))
    assert again.options == data.options
    for name in SPLITS:
        assert np.array_equal(getattr(again, name).rows.index, getattr(data, name).rows.index)
    assert torch.equal(again.train.order(2), data.train.order(2))


def test_what_exceeds_a_quarter_of_the_memory_is_streamed(tmp_path, images, monkeypatch):
    np.save(tmp_path / "x.npy", images)
    shards = write_shards(tmp_path / "s", images)
    for memory, streamed in ((4 * images.nbytes, False), (4 * images.nbytes - 4, True)):
        monkeypatch.setattr(files, "available_memory", lambda memory=memory: memory)
        for source in (tmp_path / "x.npy", shards):
            data = load(source)
            assert (data.options["stream"], data.options["memory"]) == (
                streamed,
                cap_of(None) if streamed else None,
            )
            assert hasattr(data.train.rows, "window") is streamed
    assert "stream" not in load(images).options


def test_the_memory_there_is():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < available_memory() <= total
    assert cap_of(None) <= min(512, total / 8 / MIB)
    assert cap_of(1.5) == 1.5


def test_a_long_pass_tells_how_far_it_is_and_only_once(tmp_path, images, monkeypatch, capsys):
    np.save(tmp_path / "x.npy", images)
    load(tmp_path / "x.npy", stream=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(blocks, "_QUIET", -1)
    load(tmp_path / "x.npy", stream=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "x.npy: 50%" in err
    assert "x.npy: 100%" in err or "of" in err.splitlines()[-1]
    assert len(err.splitlines()) <= 11
    monkeypatch.setenv("RANK", "1")
    load(tmp_path / "x.npy", stream=True)
    assert capsys.readouterr().err == ""


@pytest.mark.processes
def test_a_killed_run_on_streamed_data_ends_as_if_nothing_had_been(rng, tmp_path):
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (4000, 256), dtype=np.uint8))
    write = f"""
import os, signal, sys
import torch
import lowerbound as lb
from lowerbound.data import load
torch.set_num_threads(1)
torch.manual_seed(0)
data = load({str(tmp_path / "x.npy")!r}, stream=True, memory={10 * 2**14 / MIB})
assert data.train.rows.window.length < len(data.train.rows.window.blocks.counts) // 2
batch, seen = type(data.train).batch, 0

def die(self, index):
    global seen
    seen += 1
    if seen == 90:  # in the second epoch, between two evaluations
        os.kill(os.getpid(), signal.SIGKILL)
    return batch(self, index)

if "die" in sys.argv:
    type(data.train).batch = die
model = lb.VAE.for_data(data, latent=2, network={{"type": "mlp", "hidden": [8]}})
resume = "resume" in sys.argv
lb.fit(
    model, data, out=sys.argv[1], resume=resume, epochs=3, batch_size=64, checkpoint_seconds=1e-6, progress=False
)
"""

    def run(*arguments):
        return subprocess.run([sys.executable, "-c", write, *arguments], capture_output=True, text=True)

    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    for arguments in ([whole], [parts, "resume"]):
        if "resume" in arguments:
            assert run(parts, "die").returncode == -signal.SIGKILL
            assert 80 <= checkpoint_of(parts)[1]["step"] < 90
        ended = run(*arguments)
        assert ended.returncode == 0, ended.stderr[-2000:]
    (weights, state), (others, other_state) = checkpoint_of(whole), checkpoint_of(parts)
    assert state["step"] == other_state["step"] == 150
    assert weights.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


def checkpoint_of(run):
    return load_tensors(Path(run) / "checkpoint" / "state.safetensors")


# ------------------------------------------------------------------ under a cap of memory

# Trains by `fit` where an example is small: before its first step that looks at a thousand at once.
CAPPED = """
import resource, sys
import torch
import lowerbound as lb
from lowerbound.data import load, rows
path, small, how, cap = *sys.argv[1:4], int(sys.argv[4])
rows._CHUNK = 2**18

def train(data, batch):
    model = lb.VAE.for_data(data, latent=2, network={"type": "mlp", "hidden": [4]})
    if data.spec.dimensions < 1000:
        how_long = 2 * batch / len(data.train)
        run = lb.fit(model, data, objective="elbo", epochs=how_long, batch_size=batch, progress=False)
        return run.steps
    optimizer = torch.optim.Adam(model.parameters())
    for index in data.train.order(0).split(batch)[:2]:
        lb.objectives.ELBO()(model, *data.train.batch(index), lb.objectives.Progress()).loss.backward()
        optimizer.step()
    return 2

train(load(small, stream=True, memory=8), 16)  # brings all that is imported on first use
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (1024 * used + cap, 1024 * used + cap))
data = load(path, memory=8 if how == "window" else 1000)
assert data.options["stream"]  # by itself, for there is not enough memory
assert data.train.rows.window.blocks.row_bytes * len(data.all) >= 4 * cap
total = sum(len(data.train.batch(index)[0]) for index in data.train.order(0).split(64))
assert total == len(data.train), total
assert train(data, 16) == 2
print("done")
"""


# What is freed goes back to the system at once, so that what the limit counts is what is held.
GIVEN_BACK = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
}


def write_large(path, shape, count, rng):
    """Bytes of random numbers, as the name of the file says."""
    if path.suffix == ".npy":
        np.save(path, rng.integers(0, 256, (count, *shape), dtype=np.uint8))
    elif path.suffix == ".tar":
        some = [npy(example) for example in rng.integers(0, 256, (100, *shape), dtype=np.uint8)]
        write_tar(path, ((f"{i:06}.npy", some[i % 100]) for i in range(count)))
    else:
        schema = pa.schema({f"x{i}": pa.float32() for i in range(*shape)})
        with pq.ParquetWriter(path, schema, use_dictionary=False, write_statistics=False) as writer:
            for _ in range(0, count, 4000):
                columns = rng.standard_normal((*shape, 4000), dtype=np.float32)
                writer.write_table(pa.table(list(columns), schema=schema))


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
@pytest.mark.parametrize(("form", "shape"), [("npy", (16, 16, 3)), ("parquet", (256,)), ("tar", (64, 64, 3))])
def test_four_times_the_memory_is_gone_through_and_trained_on(tmp_path, rng, form, shape):
    cap = 64 * 2**20
    large, small = tmp_path / f"large.{form}", tmp_path / f"small.{form}"
    write_large(large, shape, 4 * cap // (math.prod(shape) * (4 if form == "parquet" else 1)) + 500, rng)
    write_large(small, shape, 2000 if form == "tar" else 40_000, rng)

    def run(how):
        return subprocess.run(
            [sys.executable, "-c", CAPPED, large, small, how, str(cap)],
            capture_output=True,
            text=True,
            timeout=500,
            env={**os.environ, "OMP_NUM_THREADS": "1", **GIVEN_BACK},
        )

    ended = run("window")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout == "done\n"
    if form == "npy":  # and the limit holds: a window of all of it does not fit
        ended = run("whole")
        assert ended.returncode != 0
        assert "can't allocate memory" in ended.stderr, ended.stderr[-3000:]
    large.unlink()


# ------------------------------------------------------------------ what is refused


def remarks(folder, members):
    return write_tar(folder / "bad.tar", members)


GREY = np.arange(24, dtype=np.uint8).reshape(6, 4)
GOOD = [(f"{i}.png", png(GREY + i)) for i in range(20)]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([*GOOD, ("x.cls", b"1")], r"sample 'x' has no picture and no \.npy among cls"),
        ([*GOOD, ("x.txt", b"1"), ("x.png", png(GREY))], r"'x' has the members png, txt, those before png"),
        ([("x.png", png(GREY)), ("x.jpg", png(GREY))], r"'x' has png and jpg among"),
        ([("x.png", png(GREY)), ("x.png", png(GREY))], r"x\.png occurs twice"),
        ([*GOOD, ("x.pyd", pickle.dumps(1))], r"x\.pyd is a pickle, and opening one can run any code"),
        (
            [*GOOD, ("x.png", png(GREY[:5]))],
            r"x\.png is \(1, 5, 4\) uint8, but the first.*bad\.tar.*image_size=",
        ),
        ([*GOOD, ("x.png", png(GREY)[:40])], r"bad\.tar: x\.png cannot be decoded"),
        ([*GOOD, ("x.png", b"")], r"bad\.tar: x\.png cannot be decoded"),
        ([("x.png", b"nothing"), *GOOD], r"bad\.tar: x\.png cannot be decoded"),
        (
            [(f"{i}.npy", npy(np.array([{}], object), allow_pickle=True)) for i in range(20)],
            r"0\.npy cannot be decoded.*pickles",
        ),
        ([(f"{i}.npy", npy(np.array(["a"]))) for i in range(20)], r"0\.npy cannot be decoded.*dtype <U1"),
        (
            [(f"{i}.npy", npy(np.zeros(3 + i // 19))) for i in range(20)],
            r"19\.npy is \(4,\) float64.*make them alike",
        ),
        (
            [(f"{i}.npy", npy(np.full(3, np.inf if i == 7 else 0.0))) for i in range(20)],
            r"3 values that are infinite.*example 7,",
        ),
        ([], "no samples in it"),
    ],
)
def test_bad_shards_are_refused_with_shard_and_member(tmp_path, members, message):
    with pytest.raises(DataError, match=message):
        load(remarks(tmp_path, members), stream=True)


def test_damaged_and_compressed_shards_are_refused(tmp_path):
    path = remarks(tmp_path, GOOD)
    content = path.read_bytes()
    (tmp_path / "cut.tar").write_bytes(content[: 19 * 1024 + 512 + 10])
    with pytest.raises(DataError, match=r"cut\.tar.*(ends within 19\.png|cannot be read)"):
        load(tmp_path / "cut.tar")
    (tmp_path / "no.tar").write_bytes(b"nothing" * 500)
    with pytest.raises(DataError, match=r"no\.tar cannot be read as a tar file"):
        load(tmp_path / "no.tar")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(path, "a.png")
    with pytest.raises(DataError, match=r"compressed.*unpack it"):
        load(tmp_path / "x.tar.gz")
    os.rename(tmp_path / "x.tar.gz", tmp_path / "packed.tar")
    with pytest.raises(DataError, match=r"packed\.tar cannot be read as a tar file.*compressed"):
        load(tmp_path / "packed.tar")
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match=r"a\.png is a link"):
        load(tmp_path / "link.tar")


def test_a_shard_that_changes_under_a_run_is_noticed(tmp_path):
    path = remarks(tmp_path, GOOD)
    data = load(path, stream=True)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match="shorter than when it was opened"):
        data.train.batch(torch.arange(16))
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        data.train.batch(torch.arange(16))


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        (b"{", {"label_column": "a"}, r"sample '0': its \.json cannot be read"),
        (b"[1]", {"label_column": "a"}, r"no table of names"),
        (b'{"b": 1}', {"label_column": "a"}, r"no 'a'.*options: b"),
        (b'{"b": [1]}', {"condition": "b"}, r"'b' in its \.json is no number and no word"),
        (None, {"condition": "b"}, r"no \.json to take"),
    ],
)
def test_bad_entries_of_shards_are_refused(tmp_path, entries, options, message):
    members = []
    for name, content in GOOD:
        members += [(name, content)] if entries is None else [(name, content), (f"{name[:-4]}.json", entries)]
    with pytest.raises(DataError, match=message):
        load(remarks(tmp_path, members), **options)


def table_of(tmp_path, name="x.parquet", rows=5, **columns):
    pq.write_table(pa.table(columns), tmp_path / name, row_group_size=rows)
    return tmp_path / name


def test_bad_tables_are_refused(tmp_path, images):
    x = np.arange(100.0)
    with pytest.raises(DataError, match=r"100 examples in 2 blocks.*row_group_size=1\)"):
        load(table_of(tmp_path, rows=50, x=x), stream=True)
    with pytest.raises(
        DataError, match=r"200 examples in 1 blocks.*needs 10 of them.*row_group_size=2\).*sub-folders"
    ):
        load(table_of(tmp_path, rows=500, x=np.arange(200.0)), stream=True)
    with pytest.raises(
        ConfigError,
        match=r"a block of 5 examples, which takes 20 bytes.*memory=2\.86e-05 .*row_group_size=1\)",
    ):
        load(table_of(tmp_path, x=x), stream=True, memory=30 / MIB)
    with pytest.raises(DataError, match=r"column 'x' has an infinite number in row 17"):
        load(table_of(tmp_path, x=np.where(x == 17, np.inf, x)), stream=True)
    with pytest.raises(DataError, match=r"columns that are no numbers, words, booleans or dates: 'w' \(list"):
        load(table_of(tmp_path, x=x, w=[["a"]] * 100), stream=True)
    with pytest.raises(ConfigError, match=r"no column 'y'; options: x"):
        load(table_of(tmp_path, x=x), stream=True, columns=["y"])
    with pytest.raises(DataError, match=r"row group 1 has lists of several lengths: 3, 4"):
        load(table_of(tmp_path, x=[[1] * (4 if i == 9 else 3) for i in range(100)]), stream=True)
    with pytest.raises(
        DataError, match=r"row group 1 has examples of shape \(4,\) int64, but the first row has \(3,\)"
    ):
        load(table_of(tmp_path, x=[[1] * (4 if i >= 5 else 3) for i in range(100)]), stream=True)
    with pytest.raises(DataError, match="1 missing values in its lists"):
        load(table_of(tmp_path, x=[[1, None if i == 9 else 3] for i in range(100)]), stream=True)
    pictures = [png(image) for image in images[:100]]
    with pytest.raises(DataError, match="row group 1 has 1 rows without a picture"):
        load(table_of(tmp_path, x=[None if i == 9 else p for i, p in enumerate(pictures)]), stream=True)
    with pytest.raises(DataError, match="row group 1: the picture in its row 4 cannot be decoded"):
        load(table_of(tmp_path, x=[b"no" if i == 9 else p for i, p in enumerate(pictures)]), stream=True)
    with pytest.raises(ConfigError, match="image_size= and channels= are for pictures"):
        load(table_of(tmp_path, x=x), stream=True, image_size=8)
    (tmp_path / "two").mkdir()
    table_of(tmp_path, "two/a.parquet", x=x)
    table_of(tmp_path, "two/b.parquet", x=x.astype(int))
    with pytest.raises(DataError, match=r"b\.parquet: column 'x' is int64, but double in the first file"):
        load(tmp_path / "two")


def test_unclear_folders_of_files_are_refused(tmp_path):
    table_of(tmp_path, "a.parquet", x=np.arange(100.0))
    write_tar(tmp_path / "a.tar", GOOD)
    with pytest.raises(DataError, match=r"\.parquet and \.tar files"):
        load(tmp_path)
    os.rename(tmp_path / "a.tar", tmp_path / "train-0.tar")
    os.remove(tmp_path / "a.parquet")
    write_tar(tmp_path / "test-0.tar", GOOD)
    with pytest.raises(DataError, match="files of test, train; one with its own split has exactly"):
        load(tmp_path)
    write_tar(tmp_path / "test" / "a.tar", GOOD)
    with pytest.raises(DataError, match="next to the sub-folders test"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"binarize": "static"}, "binarize='static' keeps one draw.*'dynamic'"),
        ({"groups": "g.npy"}, "groups= would cut through the blocks"),
        ({"stream": 2}, "stream=2 is not known"),
        ({"memory": 0}, "memory=0 must be a positive number of MiB"),
        ({"memory": "2GB"}, "memory='2GB' must be"),
        ({"memory": 1e-5}, r"memory=9.54e-06 \(MiB\) must hold two of them: give more$"),
        ({"on_corrupt": "skip"}, "on_corrupt='skip' is for folders of images"),
    ],
)
def test_options_that_streaming_excludes(tmp_path, images, options, message):
    np.save(tmp_path / "x.npy", images)
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "x.npy", **({"stream": True} | options))


@pytest.mark.parametrize("option", [{"stream": True}, {"memory": 10**6}])
def test_what_cannot_be_streamed_says_what_can(tmp_path, images, option):
    np.savez(tmp_path / "x.npz", images)
    pd.DataFrame(images[:, 0, 0]).to_csv(tmp_path / "x.csv")
    text = [tmp_path / "x.csv"] if "memory" in option else []  # it is mapped, not read by blocks
    for source in (images, tmp_path / "x.npz", *text, "digits"):
        with pytest.raises(ConfigError, match=r"is for a .*npy or \.parquet file, tar shards"):
            load(source, **option)


def test_shards_of_the_webdataset_package_are_read(tmp_path, images):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "s-%03d.tar"), maxcount=90, verbose=0) as writer:
        for i, image in enumerate(images):
            writer.write({"__key__": f"{i:05}", "png": image, "cls": i % 3, "json": {"angle": i / 4}})
    data = load(tmp_path, stream=True, condition=["label", "angle"])
    assert np.array_equal(stored(data.all), images.transpose(0, 3, 1, 2))
    assert torch.equal(data.all.labels, torch.arange(240) % 3)
    assert torch.equal(data.all.condition("angle")[:, 0], torch.arange(240) / 4)
