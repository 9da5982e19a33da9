"""Examples are told apart by their values: where they are split, and how a run knows its data again. No training."""

import struct

import numpy as np
import pandas as pd
import pytest
import torch

import lowerbound as lb
from lowerbound.data import load, load_like
from lowerbound.data.identity import difference, fingerprint, hashes
from lowerbound.data.partition import _sorted
from lowerbound.errors import ConfigError, DataError

PARTS = ("train", "valid", "test")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rows_of(split):
    return {tuple(row) for row in split.rows.read(torch.arange(len(split))).flatten(1).tolist()}


def sizes(data):
    return tuple(len(getattr(data, part)) for part in PARTS)


def again(source, data, **more):
    """Another state of the data of a run, read as the run reads it."""
    return load_like(source, data.spec, **({k: v for k, v in data.options.items() if v is not None} | more))


# --- hashes


def test_a_hash_is_of_the_values_whatever_their_type_and_place():
    x = np.random.default_rng(0).integers(0, 256, (50, 3, 5))
    want = hashes(x.astype(np.uint8))
    for same in (x, x.astype(np.float64), x.astype(np.int16), np.asfortranarray(x), x.reshape(50, 15)):
        np.testing.assert_array_equal(hashes(same), want)
    np.testing.assert_array_equal(hashes(x[::-1]), want[::-1])
    np.testing.assert_array_equal(hashes(x[7:8]), want[7:8])
    assert not np.any(hashes(x, seed=1) == want)
    np.testing.assert_array_equal(hashes(np.array([[-0.0, np.nan]])), hashes(np.array([[0.0, -np.nan]])))


@pytest.mark.parametrize("width", [1, 2, 5, 8, 33])
def test_examples_that_differ_anywhere_have_other_hashes(width):
    base = np.ones((1, width), np.float32)
    others = [base]
    for i in range(width):  # each value alone, and all pairs of signs: in sums of words the top bits cancel
        for j in range(i, width):
            other = base.copy()
            other[0, [i, j]] *= -1
            others.append(other)
        others += [base + np.eye(width, dtype="f")[i] * np.float32(1e-6), np.roll(base * np.arange(width), i)]
    every = np.unique(np.concatenate(others), axis=0)
    assert len(np.unique(hashes(every))) == len(every)


@pytest.mark.slow
def test_hashes_are_spread_evenly():
    # Of a million numbers that follow each other; the standard error of each share is 0.0003.
    found = hashes(np.arange(10**6)[:, None])
    share = np.bincount(found >> np.uint64(61), minlength=8) / 10**6
    assert np.abs(share - 1 / 8).max() < 5 * 0.00033
    assert len(np.unique(found)) == 10**6


def mix(word):
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) % 2**64
    return word ^ word >> 31


def test_hashes_are_those_of_the_written_algorithm():
    # In whole numbers of Python. Hashes are kept with runs: other ones would cut their data anew.
    golden = 0x9E3779B97F4A7C15
    start = mix(5 + golden)
    words = struct.unpack("<2Q", struct.pack("<4f", 1, 2, 3, 0))
    want = mix(
        (sum(mix((w + mix((i * golden + start) % 2**64)) % 2**64) for i, w in enumerate(words, 1)) + start)
        % 2**64
    )
    assert int(hashes(np.array([[1, 2, 3]]), seed=5)[0]) == want == 0x864CD5F8F7F5F15F


# --- the split


@pytest.mark.parametrize("count", [3, 4, 10, 101, 500])
@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25)])
def test_sizes_are_those_of_the_shares(count, shares):
    valid, test = (max(1, round(count * share)) for share in shares[1:])
    data = load(normal(count, 2), split=shares)
    assert sizes(data) == (count - valid - test, valid, test)


CHANGES = {
    "a row in front": lambda x: np.concatenate([normal(1, 3, seed=9), x]),
    "a hundred rows more": lambda x: np.concatenate([x[:250], normal(100, 3, seed=9), x[250:]]),
    "rows removed": lambda x: x[::3],
    "reordered": lambda x: x[::-1],
    "one value changed": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 100, 0.5, x),
    "stored as float32": lambda x: x.astype(np.float32),
    "repeated": lambda x: np.concatenate([x, x]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_example_stays_in_its_split_whatever_becomes_of_the_others(change):
    x = normal(500, 3)
    data = load(x)
    new = CHANGES[change](x)
    found = again(new, data)
    assert sum(sizes(found)) == len(new)
    for part in PARTS:
        others = set.union(*(rows_of(getattr(found, other)) for other in PARTS if other != part))
        assert not rows_of(getattr(data, part)) & others
    assert found.options["split_by"] == data.options["split_by"]


def test_examples_of_one_hash_keep_their_order():
    hash_of = np.random.default_rng(0).integers(0, 200, 1000).astype(np.uint64)
    order, ordered = _sorted(hash_of)
    assert order.tolist() == sorted(range(1000), key=lambda row: (hash_of[row], row))
    assert ordered.tolist() == sorted(hash_of.tolist())


def test_a_file_in_another_order_gives_the_same_splits_row_by_row(tmp_path):
    t = pd.DataFrame({"a": normal(60), "b": normal(60, seed=1), "kind": ["x", "y", "z"] * 20})
    t.to_csv(tmp_path / "t.csv", index=False)
    data = load(tmp_path / "t.csv", condition="kind")
    t[::-1].to_csv(tmp_path / "t.csv", index=False)
    found = again(tmp_path / "t.csv", data)
    for part in PARTS:
        (x, c), (y, d) = (next(getattr(of, part).batches(60)) for of in (data, found))
        assert torch.equal(x, y)
        assert torch.equal(c["kind"], d["kind"])
    # All examples stand as in the file.
    torch.testing.assert_close(
        next(found.all.batches(60))[0][:, 0].double(),
        torch.from_numpy(t["a"][::-1].to_numpy().copy()),
        atol=1e-6,
        rtol=1e-6,
    )


def test_columns_that_are_added_or_moved_move_no_row(tmp_path):
    t = pd.DataFrame({"a": normal(60), "b": normal(60, seed=1)})
    data = load(t)
    found = again(t.assign(c=1.5)[["c", "b", "a"]], data, columns=["a", "b"])
    assert rows_of(found.test) == rows_of(data.test)
    assert difference(fingerprint(data), fingerprint(found)) is None


def test_equal_examples_are_in_one_split():
    x = normal(100, 4)
    data = load(np.concatenate([x, x[:40], x[:40]]))
    assert not rows_of(data.train) & (rows_of(data.valid) | rows_of(data.test))
    assert not rows_of(data.valid) & rows_of(data.test)
    assert abs(len(data.train) - 144) <= 3


@pytest.mark.parametrize("repeated", [9, 60, 399])
def test_a_value_that_many_examples_have_does_not_fill_one_split(repeated):
    x = normal(400, 2)
    x[:repeated] = 0
    for seed in range(5):
        data = load(x, seed=seed)
        assert abs(len(data.valid) - 40) <= 8
        assert abs(len(data.test) - 40) <= 8
    few = np.random.default_rng(0).integers(
        0, 3, (1000, 2)
    )  # of which a test set of values of its own would say nothing
    data = load(few, values="categorical")
    assert rows_of(data.test) <= rows_of(data.train)
    assert sizes(data) == (800, 100, 100)


@pytest.mark.parametrize(
    "x", [np.zeros((3, 2)), np.zeros((50, 2)), np.array([[0.0], [0], [1], [2]]), np.arange(9.0)[:, None] // 3]
)
def test_no_split_is_empty_however_few_examples_differ(x):
    for seed in range(20):
        assert min(sizes(load(x, seed=seed, values="real"))) >= 1


def test_what_is_not_split_by_identity_says_so(tmp_path):
    for name, order in (("digits", np.random.default_rng(0).permutation(1797)),):
        data = load(name)
        assert "split_by" not in data.options
        np.testing.assert_array_equal(data.order, order)
    x = normal(50, 2)
    data = load(x, split_by="permutation")
    np.testing.assert_array_equal(data.order, np.random.default_rng(0).permutation(50))
    assert data.options["split_by"] == "permutation"
    assert "split_by" not in load(x, groups=np.arange(50) // 5).options
    np.savez(tmp_path / "own.npz", train=x[:30], valid=x[30:40], test=x[40:])
    assert "split_by" not in load(tmp_path / "own.npz").options


@pytest.mark.parametrize(
    "wrong", ["hash", {}, {"valid": "0", "test": "1", "train": [], "together": 8}, 5, ["a"]]
)
def test_a_split_by_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="split_by="):
        load(normal(9, 2), split_by=wrong)


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": [0.6, 0.2, 0.2]}])
def test_another_cut_than_the_one_that_is_kept_is_refused(other):
    options = load(normal(50, 2)).options
    with pytest.raises(ConfigError, match="leave split_by out"):
        load(normal(50, 2), **(options | other))
    load(normal(50, 2), **({k: v for k, v in options.items() if k != "split_by"} | other))


def test_too_few_rows_for_the_splits_of_a_run_are_refused():
    x = normal(500, 2)
    data = load(x)
    with pytest.raises(DataError, match=r"of the 3 examples of array none is in .*another SOURCE"):
        again(data.train.rows.tensor[:3].numpy(), data)


# --- rare classes


RARE = {
    "one of a kind": ["a"] * 499 + ["z"],
    "many of one": ["a"] * 460 + [f"z{i}" for i in range(40)],
    "numbers": [*([0] * 250), *([1] * 249), 2],
    "booleans": [True] + [False] * 499,
    "with missing ones": ["a"] * 300 + [None] * 199 + ["z"],
}


@pytest.mark.parametrize("kind", RARE)
def test_each_class_is_in_train(kind):
    t = pd.DataFrame({"x": normal(500), "y": normal(500, seed=1), "cls": RARE[kind]})
    for seed in range(11):
        data = (
            load(t, condition="cls", seed=seed)
            if kind != "numbers"
            else load(t[["x", "y"]].to_numpy(), condition={"cls": t["cls"].to_numpy()}, seed=seed)
        )
        assert sizes(data) == (400, 50, 50)
        there = [set(getattr(data, part).condition("cls").tolist()) - {-1} for part in PARTS]
        assert there[1] | there[2] <= there[0]
        assert len(there[0]) == len(data.spec.conditions[0].classes)


def test_two_labels_and_labels_of_an_array_are_seen_to():
    labels = np.array([0] * 29 + [1])
    data = [load(normal(30, 2), labels=labels, condition="label", seed=s) for s in range(10)]
    assert all(set(d.train.labels.tolist()) == {0, 1} for d in data)
    t = pd.DataFrame({"x": normal(30), "a": ["p"] * 29 + ["q"], "b": ["r"] + ["s"] * 29})
    for seed in range(10):
        train = load(t, condition=["a", "b"], seed=seed).train
        assert {len(train.condition(name).unique()) for name in "ab"} == {2}


def test_a_class_of_its_own_in_train_stays_there_when_others_come():
    x, kinds = normal(200, 2), ["a"] * 199 + ["z"]
    for seed in range(8):
        data = load(pd.DataFrame(x, columns=["x", "y"]).assign(cls=kinds), condition="cls", seed=seed)
        more = pd.DataFrame(np.concatenate([x, normal(50, 2, seed=7)]), columns=["x", "y"])
        found = again(more.assign(cls=[*kinds, *["z"] * 50]), data)
        assert rows_of(data.train) <= rows_of(found.train)


def test_more_classes_than_train_has_room_for():
    t = pd.DataFrame({"x": normal(6), "cls": list("abcdef")})
    assert sizes(load(t, condition="cls")) == (4, 1, 1)


def test_examples_of_unseen_classes_can_be_left_out():
    t = pd.DataFrame({"x": normal(60), "cls": ["a", "b", "c"] * 20})
    spec = load(t[t["cls"] != "c"], condition="cls").spec
    with pytest.raises(DataError, match="has 'c', which was never seen"):
        load_like(t, spec)
    with pytest.warns(UserWarning, match=r"20 of the 60 examples of array are left out: .* 'c' as 'cls'"):
        data = load_like(t, spec, unseen="leave out")
    for split in (data.all, data.test):
        assert len(split) == 40
        torch.testing.assert_close(
            next(split.batches(40))[0][:, 0],
            torch.tensor(t["x"][t["cls"] != "c"].to_numpy(), dtype=torch.float32),
        )
    with pytest.warns(UserWarning, match="20 of the 60"):
        data = load_like(t, spec, unseen="leave out", split=[0.8, 0.1, 0.1])
    assert sum(sizes(data)) == len(data.all) == 40
    torch.testing.assert_close(
        next(data.all.batches(40))[0][:, 0],
        torch.tensor(t["x"][t["cls"] != "c"].to_numpy(), dtype=torch.float32),
    )


# --- fingerprints


def of(x, **options):
    return fingerprint(load(x, **options))


def test_a_fingerprint_does_not_depend_on_order_type_or_container(tmp_path):
    x = np.random.default_rng(0).integers(0, 100, (80, 3)).astype(np.float32)
    want = of(x)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x)
    for same in (x[::-1], x.astype(np.float64), torch.from_numpy(x), tmp_path / "x.npy", tmp_path / "x.npz"):
        assert difference(want, of(same)) is None
    assert difference(want, of(x, seed=1)).endswith("in other splits")
    data = load(x)
    data.train = data.train.take(5)  # what was read is what counts
    assert difference(want, fingerprint(data.to("cpu"))) is None
    assert difference({}, want) is None


def test_a_fingerprint_tells_what_differs():
    x, c = normal(80, 3), np.arange(80) % 4
    want = of(x, condition={"c": c})
    more = np.concatenate([x, x[:1]])
    assert difference(want, of(more, condition={"c": np.append(c, 0)})) == "81 examples, 80 in training"
    other = x.copy()
    other[17, 1] += 1e-4
    assert "other values" in difference(want, of(other, condition={"c": c}))
    assert "other labels or conditions" in difference(
        want, of(x, condition={"c": (c + (np.arange(80) == 5)) % 4})
    )
    assert "other labels" in difference(want, of(x, condition={"c": c[::-1].copy()}))
    assert "other labels" in difference(want, of(x, condition={"d": c}))
    own = {part: x[i : i + 20] for part, i in (("train", 0), ("valid", 20), ("test", 40))}
    a, b = (
        lb.data.Data(*(d.all for d in map(load, parts)), options={})
        for parts in (own.values(), [*own.values()][::-1])
    )
    assert difference(fingerprint(a), fingerprint(b)).endswith("in other splits")


def test_shared_values_are_hashed_as_if_each_had_its_own():
    x, maps, index = normal(40, 2), normal(3, 4, 4), np.arange(40) % 3
    shared = of(x, condition={"map": lb.data.Shared(maps, index)})
    assert difference(shared, of(x, condition={"map": maps[index]})) is None
    assert difference(shared, of(x, condition={"map": lb.data.Shared(maps + 1, index)}))
    assert difference(shared, of(x, condition={"map": lb.data.Shared(maps, index[::-1].copy())}))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["npy", "parquet", "folder"])
def test_streamed_files_are_looked_at_in_places(tmp_path, suffix):
    x = normal(3000, 2)

    def write(x):
        if suffix == "npy":
            np.save(tmp_path / "x.npy", x)
            return tmp_path / "x.npy"
        (tmp_path / "x").mkdir(exist_ok=True)
        for i, part in enumerate(np.array_split(x, 2)):
            name = f"x/{i}.parquet" if suffix == "folder" else "x.parquet"
            frame = pd.DataFrame(part if suffix == "folder" else x, columns=["a", "b"])
            frame.to_parquet(tmp_path / name, row_group_size=100)
        return tmp_path / ("x" if suffix == "folder" else "x.parquet")

    path = write(x)
    want = fingerprint(load(path, stream=True), path)
    assert want["examples"] == 3000
    (tmp_path / "x").mkdir(exist_ok=True)
    (tmp_path / "x" / "README").write_text("Not of the data.")
    assert difference(want, fingerprint(load(path, stream=True), path)) is None
    x[1234, 1] += 1
    write(x)
    assert "other bytes" in difference(want, fingerprint(load(path, stream=True), path))
    write(x[:2900])
    assert difference(want, fingerprint(load(path, stream=True), path)) == "2900 examples, 3000 in training"
