"""Conditions: what each entry of a batch is, the masks' geometry and frequencies, few labels, other sources."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lowerbound.data import ConditionSpec, Data, DataSpec, Shared, draw_masks, load, load_like, observe
from lowerbound.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def pets():
    """Weight tells the row, and with it every other column."""
    row = np.arange(30)
    return pd.DataFrame(
        {
            "weight": row.astype(float),
            "twice": row * 2,
            "species": np.array(["cat", "dog", "eel"])[row % 3],
            "age": row / 10,
            "tame": row % 2 == 0,
            "size": pd.Categorical(np.where(row < 15, "small", "big")),
        }
    )


def entries(split, batch_size=1000):
    """All examples and their whole condition."""
    xs, cs = zip(*split.batches(batch_size), strict=True)
    return torch.cat(xs), {name: torch.cat([c[name] for c in cs]) for name in cs[0]}


# ------------------------------------------------------------------ what is conditioned on


@pytest.mark.parametrize("form", ["frame", "csv", "parquet"])
def test_columns_of_a_table_leave_x_and_become_entries_of_their_type(tmp_path, pets, form):
    source = pets
    if form != "frame":
        source = str(tmp_path / f"pets.{form}")
        pets.to_csv(source, index=False) if form == "csv" else pets.to_parquet(source)
    data = load(source, condition=["species", "age", "tame", "size"])
    assert data.spec.columns == ("weight", "twice")
    assert data.spec.classes is None
    assert data.spec.conditions == (
        ConditionSpec("species", "label", (), ("cat", "dog", "eel")),
        ConditionSpec("age", "vector", (1,)),
        ConditionSpec("tame", "label", (), ("False", "True")),
        ConditionSpec("size", "label", (), ("big", "small")),
    )
    for name in SPLITS:
        x, c = entries(getattr(data, name))
        row = x[:, 0].long()
        assert list(c) == ["species", "age", "tame", "size"]
        assert c["species"].dtype == c["tame"].dtype == torch.int64
        assert torch.equal(c["species"], row % 3)
        assert torch.equal(c["tame"], (row % 2 == 0).long())
        assert torch.equal(c["size"], (row < 15).long())
        assert c["age"].dtype == torch.float32
        assert torch.allclose(c["age"], row[:, None] / 10)
    index = torch.tensor([5, 2, 2])
    x, c = data.train.batch(index)
    assert torch.equal(c["species"], x[:, 0].long() % 3)


def test_empty_cells_are_missing_entries(tmp_path, pets):
    pets.loc[[3, 4, 29], "species"] = None
    pets.loc[[4, 9], "age"] = np.nan
    pets["tame"] = pets["tame"].astype("boolean").where(pets["weight"] != 7)
    pets.drop(columns="size").to_csv(tmp_path / "pets.csv", index=False)
    for source in (pets.drop(columns="size"), tmp_path / "pets.csv"):
        data = load(source, label_column="species", condition=("label", "age", "tame"), seed=1)
        x, c = entries(data.all)
        row = torch.arange(30)
        assert torch.equal(x[:, 0].long(), row)
        gone = torch.isin(row, torch.tensor([3, 4, 29]))
        assert torch.equal(c["label"], torch.where(gone, -1, row % 3))
        assert torch.equal(data.all.labels, c["label"])
        assert c["age"].isnan()[:, 0].nonzero()[:, 0].tolist() == [4, 9]
        assert torch.equal(c["tame"], torch.where(row == 7, -1, (row % 2 == 0).long()))
        assert data.spec.conditions[2].classes == ("False", "True")
        for entry in data.spec.conditions:  # of the training split alone
            stored = data.train.conditions[entry.name]
            assert entry.missing == bool(
                (stored < 0).any() if entry.kind == "label" else stored.isnan().any()
            )
        assert data.spec.conditions[0].missing


def test_arrays_of_an_npz_by_dtype_and_axes(tmp_path, rng):
    n = np.arange(20)
    grid = rng.integers(0, 2, (20, 1, 4, 6), dtype=np.uint8)
    photo = rng.integers(0, 256, (20, 5, 3, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "a.npz",
        x=np.stack([n, n], 1).astype(np.float32),
        y=n % 2,
        kind=n % 4 * 10,
        word=np.where(n % 5 == 0, "", "w"),
        angle=n / 7,
        joint=np.stack([n, -n, n], 1),
        grid=grid,
        photo=photo,
        depth=photo[..., 0] / 9.0,
    )
    names = ["kind", "word", "angle", "joint", "grid", "photo", "depth", "label"]
    data = load(tmp_path / "a.npz", condition=names)
    assert [(e.name, e.kind, e.event_shape) for e in data.spec.conditions] == [
        ("kind", "label", ()),
        ("word", "label", ()),
        ("angle", "vector", (1,)),
        ("joint", "vector", (3,)),
        ("grid", "image", (1, 4, 6)),
        ("photo", "image", (3, 5, 3)),
        ("depth", "image", (1, 5, 3)),
        ("label", "label", ()),
    ]
    assert data.spec.conditions[0].classes == ("0", "10", "20", "30")
    assert data.train.conditions["photo"].dtype == torch.uint8  # stored as it came
    assert data.train.conditions["grid"].element_size() == 1
    x, c = entries(data.valid)
    row = x[:, 0].long()
    assert torch.equal(c["kind"], row % 4)
    assert torch.equal(c["word"], torch.where(row % 5 == 0, -1, 0))
    assert torch.allclose(c["angle"][:, 0], row / 7)
    assert torch.equal(c["joint"], torch.stack([row, -row, row], 1).float())
    assert torch.equal(c["grid"], torch.from_numpy(grid).float()[row])
    assert torch.allclose(c["photo"], torch.from_numpy(photo).permute(0, 3, 1, 2)[row] / 255)
    assert torch.allclose(c["depth"], torch.from_numpy(photo[..., 0] / 9.0).float()[row, None])
    assert torch.equal(c["label"], row % 2)
    assert {value.dtype for name, value in c.items() if name not in ("kind", "word", "label")} == {
        torch.float32
    }


def test_npz_with_its_own_split_has_its_own_conditions(tmp_path):
    parts = {name: np.full((i + 3, 2), 10.0 * i) + np.arange(i + 3)[:, None] for i, name in enumerate(SPLITS)}
    arrays = {f"{name}_angle": part[:, 0] for name, part in parts.items()}
    arrays |= {f"{name}_kind": np.array(["a", "b", "c", "d", "e"])[: i + 3] for i, name in enumerate(SPLITS)}
    np.savez(tmp_path / "a.npz", **parts, **arrays)
    data = load(tmp_path / "a.npz", condition=["angle", "kind"])
    for i, name in enumerate(SPLITS):
        x, c = entries(getattr(data, name))
        assert torch.equal(c["angle"], x[:, :1])
        assert c["kind"].tolist() == list(range(i + 3))
    x, c = entries(data.all)
    assert torch.equal(c["angle"], x[:, :1])
    del arrays["valid_angle"]
    np.savez(tmp_path / "a.npz", **parts, **arrays)
    with pytest.raises(DataError, match=r"no array 'valid_angle' .* did you mean"):
        load(tmp_path / "a.npz", condition="angle")


def test_arrays_from_memory_and_what_carries_them(rng):
    n = np.arange(40)
    x = np.stack([n, n], 1).astype(np.float32)
    condition = {
        "pose": torch.from_numpy(np.where(n % 8, n, np.nan)),
        "word": ["a", None, "b", "a"] * 10,
        "map": rng.integers(0, 9, (40, 4, 3)).astype(np.float64),
    }
    data = load(x, condition=condition, seed=2)
    assert data.options["condition"] is None
    assert [(e.kind, e.missing) for e in data.spec.conditions] == [
        ("vector", True),
        ("label", True),
        ("image", False),
    ]
    x, c = entries(data.all)
    assert torch.equal(x[:, 0], torch.arange(40.0))
    assert torch.equal(c["pose"].isnan()[:, 0], torch.arange(40) % 8 == 0)
    assert c["word"].tolist() == [0, -1, 1, 0] * 10
    assert torch.equal(c["map"], torch.from_numpy(condition["map"]).float()[:, None])
    few, c = entries(data.train.take(5))
    assert torch.equal(c["map"][:, 0], torch.from_numpy(condition["map"]).float()[few[:, 0].long()])
    moved = data.to("meta")
    assert {stored.device.type for stored in moved.test.conditions.values()} == {"meta"}
    assert set(moved.test.conditions) == set(condition)
    condition["map"][:] = 0
    assert entries(data.all)[1]["map"].any()  # the data do not change with the caller's array


def test_labels_of_every_kind_of_source(tmp_path):
    digits = load("digits", condition="label")
    assert digits.spec.conditions == (ConditionSpec("label", "label", (), tuple("0123456789")),)
    index = torch.tensor([3, 1])
    assert torch.equal(digits.test.batch(index)[1]["label"], digits.test.labels[index])
    for i in range(6):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 3), i, np.uint8)).save(folder / f"{i}.png")
    photos = load(tmp_path / "photos", condition="label", dequantize=False)
    x, c = entries(photos.all)
    assert torch.equal(c["label"], (x[:, 0, 0, 0] * 255).round().long() % 2)
    np.save(tmp_path / "x.npy", np.arange(24.0).reshape(12, 2))
    mapped = load(tmp_path / "x.npy", labels=np.array([0, 1, np.nan] * 4), condition="label")
    assert entries(mapped.all)[1]["label"].tolist() == [0, 1, -1] * 4
    assert mapped.spec.conditions[0].classes == ("0", "1")


def test_without_a_condition_there_is_none():
    for condition in (None, []):
        data = load("digits", condition=condition)
        assert data.spec.conditions is None
        assert data.train.batch(torch.arange(3))[1] is None
        assert next(data.train.batches(4))[1] is None


# ------------------------------------------------------------------ masks


def test_quadrants_of_an_image_of_odd_sides():
    v = np.arange(1, 1 + 10 * 2 * 5 * 7, dtype=np.float32).reshape(10, 2, 5, 7).repeat(3, 0)[:, :1]
    left, lower = torch.arange(7) < 3, (torch.arange(5) >= 2)[:, None]
    for rule, expected in (
        ("quadrant", left & lower),
        ("half", left.expand(5, 7)),
        ("three-quadrants", left | lower),
    ):
        data = load(v, observed=rule)
        x, c = entries(data.train)
        assert c["observed"].shape == (24, 2, 1, 5, 7)
        assert torch.equal(c["observed"][:, 1], expected.float().expand(24, 1, 5, 7))
        assert torch.equal(c["observed"][:, 0], x * expected)
        assert data.spec.conditions == (ConditionSpec("observed", "observed", (2, 1, 5, 7), masks=rule),)
        assert data.train.mask_rule == rule


def test_columns_are_always_observed_in_any_order(pets):
    data = load(pets, columns=["weight", "twice", "age"], condition="species", observed=("age", "weight"))
    x, c = entries(data.train)
    assert torch.equal(c["observed"][:, 1], torch.tensor([1.0, 0.0, 1.0]).expand(24, 3))
    assert torch.equal(c["observed"][:, 0], x * torch.tensor([1.0, 0.0, 1.0]))
    assert torch.equal(c["species"], x[:, 0].long() % 3)
    assert data.spec.conditions[1].masks == ("age", "weight")
    assert data.options["observed"] == ["age", "weight"]


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_random_masks_of_vectors_leave_something_and_observe_a_uniform_share(size):
    n = 60_000
    mask = draw_masks("random", n, (size,))
    assert mask.shape == (n, size)
    count = mask.sum(1).long()
    # A binomial count at a uniform rate is uniform on 0..D; without the full masks, on 0..D-1.
    share = torch.bincount(count, minlength=size).double() / n
    assert len(share) == size
    assert (share - 1 / size).abs().max() <= 5 * (1 / size * (1 - 1 / size) / n) ** 0.5 + 1e-3
    assert (mask.mean(0) - (size - 1) / 2 / size).abs().max() < 0.012  # no position is preferred
    if size == 5:  # nor any set of positions among those as large
        pairs = mask[count == 2].double()
        together = pairs.T @ pairs / len(pairs)
        assert (together[~torch.eye(5, dtype=torch.bool)] - 0.1).abs().max() < 0.02


def forms(mask):
    """Which masks (N, H, W) are a rectangle, all but one, and neither, with the side of a line apart from pixels."""

    def rectangle(on):
        rows, columns = on.any(2), on.any(1)
        filled = (rows[:, :, None] & columns[:, None] == on).flatten(1).all(1)

        def gaps(line):
            return (line[:, 1:] != line[:, :-1]).sum(1) + line[:, 0].long() + line[:, -1].long()

        return filled & (gaps(rows) <= 2) & (gaps(columns) <= 2)

    on = mask.bool()
    inner, outer = rectangle(on), rectangle(~on)
    changes = (on[:, :, 1:] != on[:, :, :-1]).sum(2).max(1).values  # a line is crossed once in a row
    changes = changes.maximum((on[:, 1:] != on[:, :-1]).sum(1).max(1).values)
    return inner, outer, ~inner & ~outer & (changes <= 1)


def test_random_masks_of_images_have_four_forms_and_a_uniform_share():
    n = 20_000
    mask = draw_masks("random", n, (2, 13, 10))
    assert mask.shape == (n, 2, 13, 10)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(mask[:, 0], mask[:, 1])  # channels are observed together
    mask = mask[:, 0]
    share = mask.mean((1, 2))
    assert share.max() < 1
    assert (share == 0).any()
    tenths = torch.histc(share, 10, 0, 1) / n
    assert tenths.min() > 0.06
    assert tenths.max() < 0.135
    inner, outer, line = forms(mask)
    # The smallest masks, and lines along the sides, are counted as rectangles.
    for form in (inner, outer, line, ~inner & ~outer & ~line):
        assert 0.2 < form.float().mean() < 0.36
    where = mask.mean(0)
    assert where.min() > 0.4
    assert where.max() < 0.6


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (3, 2, 1), (1, 2, 2), (1, 1, 9)])
def test_the_smallest_images_have_something_left_to_find(shape):
    mask = draw_masks("random", 20_000, shape)
    assert mask.shape == (20_000, *shape)
    assert mask.flatten(1).mean(1).max() < 1


@pytest.mark.parametrize("observed", ["random", "half"])
@pytest.mark.parametrize("binarize", ["none", "dynamic", "static"])
def test_observed_values_are_those_of_the_very_batch(rng, binarize, observed):
    v = rng.integers(0, 256, (60, 4, 5), dtype=np.uint8)
    train = load(v, binarize=binarize, observed=observed).train
    for x, c in [train.batch(torch.arange(30)), *train.batches(20)]:
        values, mask = c["observed"].unbind(1)
        assert torch.equal(values, torch.where(mask == 1, x, 0.0))
        assert c["observed"].dtype == torch.float32
        assert (mask.flatten(1).mean(1) < 1).all()


def test_observed_categories_are_their_numbers(rng):
    data = load(rng.integers(0, 5, (50, 6)), values="categorical", observed="random")
    x, c = data.train.batch(torch.arange(40))
    assert x.dtype == torch.int64
    assert c["observed"].dtype == torch.float32
    assert torch.equal(c["observed"][:, 0], x.float() * c["observed"][:, 1])


@pytest.mark.parametrize("shape", [(4, 5), (3, 3), (7,)])
@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_batches_with_masks_repeat_and_do_not_depend_on_the_batch_size(rng, shape, binarize):
    v = rng.integers(0, 256, (200, *shape), dtype=np.uint8)
    plain, masked = (load(v, binarize=binarize, observed=rule).train for rule in (None, "random"))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    x, c = entries(masked)
    assert torch.equal(torch.get_rng_state(), before)
    for batch_size in (7, 64):
        again, same = entries(masked, batch_size)
        assert torch.equal(again, x)
        assert torch.equal(same["observed"], c["observed"])
    assert torch.equal(
        torch.cat([x for x, _ in plain.batches(30)]), x
    )  # masks take nothing from the draws of x
    other = torch.cat([c["observed"] for _, c in masked.batches(30, seed=1)])
    assert not torch.equal(other[:, 1], c["observed"][:, 1])
    torch.manual_seed(3)
    first = masked.batch(torch.arange(9))[1]["observed"]
    assert not torch.equal(masked.batch(torch.arange(9))[1]["observed"], first)
    torch.manual_seed(3)
    assert torch.equal(masked.batch(torch.arange(9))[1]["observed"], first)


def test_observe_stacks_values_and_mask():
    x, mask = torch.tensor([[2.0, 3.0]]), torch.tensor([[0.0, 1.0]])
    assert observe(x, mask).tolist() == [[[0.0, 3.0], [0.0, 1.0]]]


# ------------------------------------------------------------------ few labels


@pytest.mark.parametrize("count", [10, 27, 100])
def test_few_labels_are_balanced_and_only_of_the_training_split(count):
    full, few = load("digits", condition="label"), load("digits", condition="label", labelled=count)
    kept = few.train.conditions["label"]
    sizes = kept[kept >= 0].bincount(minlength=10)
    assert sizes.sum() == count
    assert sizes.max() - sizes.min() <= 1
    assert torch.equal(kept[kept >= 0], full.train.labels[kept >= 0])
    assert torch.equal(few.train.labels, full.train.labels)
    for name in ("valid", "test"):
        assert torch.equal(getattr(few, name).conditions["label"], getattr(full, name).labels)
    assert few.spec.conditions[0].missing
    assert not full.spec.conditions[0].missing
    again, other = (load("digits", condition="label", labelled=count, seed=seed) for seed in (0, 1))
    assert torch.equal(again.train.conditions["label"], kept)
    assert not torch.equal(other.train.conditions["label"], kept)


def test_which_class_has_one_label_more_is_chance():
    x, y = np.zeros((400, 2)), np.arange(400) % 4
    more = []
    for seed in range(40):
        kept = load(x, labels=y, condition="label", labelled=9, seed=seed).train.conditions["label"]
        more.append(kept[kept >= 0].bincount(minlength=4).argmax().item())
    assert set(more) == {0, 1, 2, 3}


def test_few_labels_of_few():
    x, y = np.arange(60.0).reshape(30, 2), np.array([0] * 4 + [1] * 26)
    with pytest.raises(ConfigError, match=r"labelled=20 .* equally many of each of 2 classes: '0' has only"):
        load(x, labels=y, condition="label", labelled=20)
    kept = load(x, labels=y, condition="label", labelled=4).train.conditions["label"]
    assert kept[kept >= 0].bincount().tolist() == [2, 2]


# ------------------------------------------------------------------ reload, and another source


def test_options_reload_the_same_conditions(tmp_path, pets):
    pets.loc[[3, 4], "species"] = None
    pets.to_csv(tmp_path / "t.csv", index=False)
    n = np.arange(20)
    np.savez(tmp_path / "a.npz", x=np.stack([n, n], 1).astype(float), y=n % 2, angle=n / 3)
    for source, options in (
        ("digits", {"condition": "label", "labelled": 50, "observed": "random"}),
        (tmp_path / "t.csv", {"condition": ("species", "age"), "columns": ("weight", "twice"), "seed": 4}),
        (tmp_path / "t.csv", {"columns": ["weight", "twice"], "observed": ("twice",)}),
        (tmp_path / "a.npz", {"condition": ["angle", "label"], "labelled": 4}),
    ):
        data = load(source, **options)
        again = load(data.spec.source, **json.loads(json.dumps(data.options)))
        assert again.spec == data.spec
        assert again.options == data.options
        for name in SPLITS:
            (x, c), (same_x, same) = entries(getattr(data, name)), entries(getattr(again, name))
            assert torch.equal(x, same_x)
            assert c.keys() == same.keys() == {entry.name for entry in data.spec.conditions}
            assert all(torch.equal(c[key].nan_to_num(-9), same[key].nan_to_num(-9)) for key in c)
        assert DataSpec.from_dict(json.loads(json.dumps(data.spec.to_dict()))) == data.spec


def test_other_sources_are_numbered_by_name(pets):
    trained = load(pets, columns=["weight"], condition=["species", "age"])
    other = pets[pets["species"] != "cat"].assign(age=1.5)
    data = load_like(other, trained.spec, columns=["weight"])
    x, c = entries(data.all)
    assert torch.equal(c["species"], x[:, 0].long() % 3)  # and not 0 and 1, the order of what occurs here
    assert torch.equal(c["age"], torch.full((20, 1), 1.5))
    assert data.spec.conditions == trained.spec.conditions
    assert load(other, columns=["weight"], condition="species").spec.conditions[0].classes == ("dog", "eel")
    other = pets.assign(species=[None, *pets["species"][1:]])
    c = entries(load_like(other, trained.spec, columns=["weight"]).all)[1]
    assert c["species"].tolist() == [-1, *(i % 3 for i in range(1, 30))]


def test_labels_of_other_sources_are_numbered_by_name_where_they_can_be(pets):
    trained = load(pets, columns=["weight"], label_column="species", condition="label", observed="random")
    data = load_like(pets[pets["species"] != "cat"], trained.spec, columns=["weight"], label_column="species")
    x, c = entries(data.all)
    assert torch.equal(data.all.labels, x[:, 0].long() % 3)
    assert torch.equal(c["label"], data.all.labels)
    assert data.spec.classes == ("cat", "dog", "eel")
    assert data.train.spec == data.test.spec == data.spec
    assert data.train.mask_rule == "random"
    plain = load(pets, columns=["weight"], label_column="species").spec
    zoo = pets.assign(species=["ape", *pets["species"][1:]])
    data = load_like(zoo, plain, columns=["weight"], label_column="species")
    assert data.spec.classes == ("ape", "cat", "dog", "eel")
    with pytest.raises(
        DataError, match=r"'label' .* has 'ape', .* never seen in training; the classes are cat, dog"
    ):
        load_like(zoo, trained.spec, columns=["weight"], label_column="species")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"species": ["cow", "cat"] * 15}, {}, r"'species' .* 'cow', which was never seen .* cat, dog, eel"),
        ({"species": range(30)}, {}, r"'species' .* is a vector \(1,\), but the model needs a label \(\)"),
        ({"age": ["old"] * 30}, {}, r"'age' .* holds 'old', but in training it held numbers"),
        ({}, {"condition": ["age"]}, r"needs condition 'species', which was not asked"),
        ({}, {"condition": ["age", "species", "tame"]}, r"'tame' .* unknown to the model"),
        ({}, {"observed": "random"}, r"'observed' .* unknown to the model"),
    ],
)
def test_other_sources_that_do_not_fit_are_refused(pets, change, options, message):
    spec = load(pets, columns=["weight"], condition=["species", "age"]).spec
    with pytest.raises(DataError, match=message):
        load_like(pets.assign(**change), spec, **({"columns": ["weight"]} | options))


def test_other_sources_must_have_what_is_conditioned_on(tmp_path, pets):
    spec = load(pets, columns=["weight"], condition=["species", "age"]).spec
    with pytest.raises(DataError, match=r"no column 'age' to condition on; .*options: "):
        load_like(pets.drop(columns="age"), spec, columns=["weight"])
    np.savez(tmp_path / "a.npz", x=np.ones((5, 1)), species=np.array(["cat"] * 5))
    with pytest.raises(DataError, match=r"a\.npz has no array 'age' to condition on"):
        load_like(tmp_path / "a.npz", spec)
    with pytest.raises(DataError, match=r"nothing named 'species' to condition on"):
        load_like(np.ones((5, 1)), spec)
    given = {"species": ["eel"] * 5, "age": np.ones(5)}
    with pytest.raises(DataError, match=r"array is no table.*by name"):
        load_like(np.ones((5, 1)), spec, condition=given)
    data = load_like(pd.DataFrame({"weight": np.arange(5.0)}), spec, condition=given)
    assert entries(data.all)[1]["species"].tolist() == [2] * 5


# ------------------------------------------------------------------ what is refused

N = np.arange(12)
TABLE = pd.DataFrame(
    {"a": N / 2, "b": N, "kind": ["u", "v", "w"] * 4, "when": pd.date_range("2020", periods=12)}
)
X = np.stack([N, N], 1).astype(float)
IMAGES = np.zeros((12, 4, 4)) + N[:, None, None]


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (TABLE, {"condition": "knd"}, DataError, r"no column 'knd' to condition on; did you mean 'kind'"),
        (TABLE, {"condition": "kind", "columns": ["a", "kind"]}, ConfigError, r"either data or not"),
        (TABLE, {"condition": ["kind"], "label_column": "kind"}, ConfigError, r"its name there is 'label'"),
        (
            TABLE,
            {"condition": "label", "columns": ["a"]},
            DataError,
            r"no labels; pass labels=, .* label_column=",
        ),
        (TABLE, {"condition": "when", "columns": ["a"]}, DataError, r"'when' .* whole numbers or strings"),
        (TABLE, {"columns": ["a", "b"], "observed": ["a", "c"]}, ConfigError, r"names 'c', no column of x"),
        (TABLE, {"columns": ["a", "b"], "observed": ["a", "b"]}, ConfigError, r"observes all"),
        (TABLE, {"columns": ["a", "b"], "observed": []}, ConfigError, r"observes nothing"),
        (TABLE, {"columns": ["a", "b"], "observed": "half"}, ConfigError, r"'half' is for images.*'random'"),
        (TABLE.assign(b=np.inf), {"columns": ["a"], "condition": "b"}, DataError, r"infinite .* 12 examples"),
        (
            TABLE.assign(b=np.nan),
            {"columns": ["a"], "condition": "b"},
            DataError,
            r"'b' .* no value in the train",
        ),
        (TABLE.assign(kind=None), {"columns": ["a"], "condition": "kind"}, DataError, r"'kind' .* no value"),
        (X, {"condition": "label"}, DataError, r"array has no labels"),
        (X, {"condition": "angle"}, DataError, r"nothing named 'angle' .* condition=\{'angle': array\}"),
        (X, {"condition": 3}, ConfigError, r"condition=3 must be a name"),
        (X, {"condition": [1]}, ConfigError, r"condition=\[1\] must be"),
        (X, {"condition": ["a", "a"]}, ConfigError, r"repeats a name"),
        (X, {"condition": "observed"}, ConfigError, r"choose another name"),
        (X, {"condition": {"observed": N}}, ConfigError, r"choose another name"),
        (X, {"condition": {"a": N[:5]}}, DataError, r"'a' .* shape \(5,\), but there are 12"),
        (X, {"condition": {"a": 3.0}}, DataError, r"'a' .* shape \(\), but there are 12"),
        (X, {"condition": {"a": np.where(N == 7, np.inf, N)}}, DataError, r"1 examples, the first in row 7"),
        (X, {"condition": {"a": np.where(N == 7, 1e300, N)}}, DataError, r"beyond float32"),
        (X, {"condition": {"a": np.full((12, 3), np.nan)}}, DataError, r"'a' .* no value"),
        (X, {"condition": {"a": np.zeros((12, 2, 2, 2, 2))}}, DataError, r"'a' of array has shape"),
        (X, {"condition": {"a": np.zeros((12, 0))}}, DataError, r"'a' of array is empty"),
        (X, {"condition": {"a": N * 1j}}, DataError, r"complex"),
        (X, {"condition": {"a": ["x", 1, None] * 4}}, DataError, r"'a' .* whole numbers or strings"),
        (X, {"observed": "quadrant"}, ConfigError, r"'quadrant' is for images, but .* \(2,\)"),
        (X, {"observed": "quadrnt"}, ConfigError, r"did you mean 'quadrant'"),
        (X, {"observed": ["a"]}, ConfigError, r"columns, which only tables have"),
        (X, {"observed": 3}, ConfigError, r"observed=3 must be"),
        (IMAGES[:, :, :1], {"axes": "NHW", "observed": "half"}, ConfigError, r"observes nothing"),
        (IMAGES[:, :1], {"axes": "NHW", "observed": "three-quadrants"}, ConfigError, r"observes all"),
        (X, {"labelled": 3}, ConfigError, r"add condition='label'"),
        (X, {"labels": N % 2, "condition": "label", "labelled": 0}, ConfigError, r"positive whole number"),
        (X, {"labels": N % 2, "condition": "label", "labelled": True}, ConfigError, r"positive whole number"),
        (X, {"labels": N % 2, "condition": "label", "labelled": 2.0}, ConfigError, r"positive whole number"),
        (X, {"labels": N % 2, "condition": "label", "labelled": 1}, ConfigError, r"10 labels of 2 classes"),
        (X, {"labels": N % 2, "condition": "label", "labelled": 11}, ConfigError, r"10 labels of 2 classes"),
        (X, {"condition": {"label": N / 2}, "labelled": 2}, ConfigError, r"'label' is a vector"),
        (X, {"labels": np.where(N == 4, np.nan, 1)}, DataError, r"missing for 1 .* row 4.*condition='label'"),
        (X, {"condition": {"a": Shared(X, N[:5])}}, DataError, r"'a' .* shape \(5, 2\), but there are 12"),
        (X, {"condition": {"a": Shared(X, N, "set")}}, DataError, r"'a' .* is a set, so \(N, rows, D\)"),
        (X, {"condition": {"a": Shared(X, N, "image")}}, DataError, r"given as 'image', but .* are 'vector'"),
        (
            X,
            {"condition": {"a": Shared(IMAGES, N, "vector")}},
            DataError,
            r"given as 'vector', but .* are 'image'",
        ),
        (X, {"condition": {"a": Shared(X + np.inf, N)}}, DataError, r"'a' .* infinite"),
        (X, {"condition": {"a": Shared(X + np.nan, N)}}, DataError, r"'a' .* no value in the train"),
        (X, {"groups": N[:5]}, DataError, r"groups has shape \(5,\), but there are 12"),
        (X, {"groups": X}, DataError, r"groups has shape \(12, 2\), but there are 12"),
        (X, {"groups": N % 2}, DataError, r"there are 2 groups; .* at least one each"),
        (X, {"groups": np.where(N == 3, np.nan, N)}, DataError, r"none of them missing"),
        (X, {"groups": ["a", None, "b"] * 4}, DataError, r"none of them missing"),
    ],
)
def test_wrong_conditions_are_refused_with_their_remedy(source, options, error, message):
    with pytest.raises(error, match=message):
        load(source, **options)


def test_a_source_with_its_own_split_takes_no_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", train=X, valid=X, test=X)
    with pytest.raises(ConfigError, match=r"dict of arrays as condition= is for sources without a split"):
        load(tmp_path / "a.npz", condition={"a": N})
    arrays = {"train_a": X, "valid_a": X, "test_a": X[:, :1]}
    np.savez(tmp_path / "a.npz", train=X, valid=X, test=X, **arrays)
    with pytest.raises(DataError, match=r"'a' .* several shapes"):
        load(tmp_path / "a.npz", condition="a")


def test_conditions_are_checked_before_the_data_are_read_through(monkeypatch):
    module = sys.modules["lowerbound.data.load"]  # the package's attribute of this name is the function
    monkeypatch.setattr(module, "scan", lambda *_: pytest.fail("all values were read"))
    for options in ({"condition": {"a": N + np.inf}}, {"observed": "half"}, {"condition": "b"}):
        with pytest.raises((ConfigError, DataError)):
            load(X, **options)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a", "kind": "lable", "event_shape": []}, "did you mean 'label'"),
        ({"name": "a", "kind": "label"}, "lacks event_shape"),
        ({"name": "a", "kind": "label", "event_shape": [], "class": []}, "did you mean 'classes'"),
    ],
)
def test_the_spec_of_a_condition_refuses_what_it_does_not_know(entry, message):
    stored = load("digits").spec.to_dict() | {"conditions": [entry]}
    with pytest.raises(ConfigError, match=message):
        DataSpec.from_dict(stored)


def test_specs_from_before_there_were_conditions_are_read():
    spec = load("digits").spec
    stored = spec.to_dict()
    del stored["conditions"]
    assert DataSpec.from_dict(stored) == spec


def test_repr_names_the_conditions(pets):
    text = repr(load(pets, columns=["weight", "twice"], condition=["species", "age"], observed=["twice"]))
    assert "condition: species (3 classes), age (vector (1,)), observed (always twice)" in text
    assert "label (10 classes, some missing)" in repr(load("digits", condition="label", labelled=10))
    assert "condition" not in repr(load("digits"))


# ------------------------------------------------------------------ values that examples share, and groups of them


def shared_values(rng, n=60):
    """Values of each kind, an index into them for n examples, and the dense arrays."""
    index = rng.integers(0, 7, n)
    values = {
        "grid": rng.integers(0, 2, (7, 1, 4, 6), dtype=np.uint8),
        "photo": rng.integers(0, 256, (7, 5, 3, 3), dtype=np.uint8),
        "pose": rng.standard_normal((7, 3)),
        "depth": rng.standard_normal((7, 4, 4)).astype(np.float32),
        "kind": np.arange(7) // 2 * 10,
        "when": np.arange(7) / 2,
    }
    values["pose"][3] = np.nan
    return values, index


def test_shared_values_come_in_batches_as_dense_ones(rng):
    values, index = shared_values(rng)
    x = np.stack([np.arange(60), np.arange(60)], 1).astype(np.float32)
    dense = load(x, condition={name: value[index] for name, value in values.items()}, seed=3)
    shared = load(x, condition={name: Shared(value, index) for name, value in values.items()}, seed=3)
    assert shared.spec == dense.spec
    assert shared.spec.conditions[2].missing
    for a, b in ((shared, dense), (shared.to("cpu"), dense)):
        for name in SPLITS:
            (x_a, c_a), (x_b, c_b) = entries(getattr(a, name), 7), entries(getattr(b, name), 7)
            assert torch.equal(x_a, x_b)
            for key, value in c_b.items():
                assert c_a[key].dtype == value.dtype
                assert torch.equal(c_a[key].nan_to_num(-1e9), value.nan_to_num(-1e9)), key
    at = torch.tensor([5, 2, 2])
    for key, value in dense.train.batch(at)[1].items():
        assert torch.equal(shared.train.batch(at)[1][key].nan_to_num(-1e9), value.nan_to_num(-1e9))
    # In the order of the source, and some of it.
    every, c = entries(shared.all)
    assert torch.equal(every[:, 0], torch.arange(60.0))
    assert torch.equal(c["grid"], torch.from_numpy(values["grid"][index]).float())
    few, c = entries(shared.valid.select(np.array([3, 0])))
    assert torch.equal(c["depth"][:, 0], torch.from_numpy(values["depth"][index])[few[:, 0].long()])
    few, c = entries(shared.train.take(4))
    assert torch.equal(c["when"][:, 0], torch.from_numpy(index)[few[:, 0].long()] / 2)


def test_shared_values_are_stored_once_and_are_the_datas_own(rng):
    values, index = shared_values(rng)
    data = load(rng.standard_normal((60, 2)), condition={n: Shared(v, index) for n, v in values.items()})
    for name in SPLITS:
        stored = getattr(data, name).conditions["grid"]
        assert isinstance(stored, Shared)
        assert stored.values.shape == (7, 1, 4, 6)
        assert stored.values.dtype == torch.bool
        assert stored.values.data_ptr() == data.train.conditions["grid"].values.data_ptr()
        assert len(stored) == len(getattr(data, name))
        assert isinstance(getattr(data, name).conditions["kind"], torch.Tensor)  # classes take no room
    assert data.train.conditions["photo"].values.dtype == torch.uint8
    assert isinstance(data.all.conditions["grid"], Shared)
    before = data.train.condition("grid").clone(), data.train.condition("depth").clone()
    values["grid"][:], values["depth"][:], index[:] = 0, 0, 0
    assert torch.equal(data.train.condition("grid"), before[0])
    assert torch.equal(data.train.condition("depth"), before[1])
    moved = data.to("meta")
    assert {moved.test.conditions[name].device.type for name in values} == {"meta"}
    assert moved.test.conditions["grid"].index.device.type == "meta"
    assert moved.test.conditions["grid"].values is moved.train.conditions["grid"].values
    assert list(moved.valid.conditions) == list(data.valid.conditions)


def test_splits_with_shared_values_of_their_own_are_joined(rng):
    x = rng.standard_normal((12, 2)).astype(np.float32)
    first, second = (
        load(x, condition={"a": Shared(torch.arange(5.0).reshape(5, 1) + start, N % 5)}, seed=1)
        for start in (0, 100)
    )
    mixed = Data(first.train, second.valid, first.test, {}, first.order)
    for data in (mixed, mixed.to("cpu")):
        _, c = entries(data.all)
        wanted = (
            torch.arange(12)[:, None] % 5
            + 100.0 * torch.isin(torch.arange(12), rows_of(first.valid, x))[:, None]
        )
        assert torch.equal(c["a"], wanted)


def rows_of(split, x):
    """Which rows of x a split has."""
    return torch.tensor([int(np.flatnonzero((x == row.numpy()).all(1))[0]) for row in entries_x(split)])


def test_the_distinct_values_are_those_that_occur_once_each(rng):
    values = torch.arange(20.0).reshape(10, 2)
    data = load(rng.standard_normal((50, 2)), condition={"a": Shared(values, np.arange(50) % 5 + 2)})
    assert torch.equal(data.train.distinct("a"), values[2:7])
    assert data.train.condition("a").shape == (40, 2)
    one = load(rng.standard_normal((50, 2)), condition={"a": values.repeat(5, 1)})
    assert torch.equal(one.train.distinct("a"), one.train.condition("a"))


def test_sets_keep_their_rows_and_lack_only_without_any(rng):
    sets = rng.standard_normal((6, 4, 3))
    sets[1, 2:] = np.nan
    sets[2, :, 1] = np.nan
    index = np.arange(30) % 6
    data = load(rng.standard_normal((30, 2)), condition={"boxes": Shared(sets, index, "set")}, seed=1)
    assert data.spec.conditions == (ConditionSpec("boxes", "set", (4, 3), missing=True),)
    assert DataSpec.from_dict(data.spec.to_dict()) == data.spec
    assert "boxes (set (4, 3), some missing)" in repr(data)
    _, c = entries(data.all)
    assert c["boxes"].dtype == torch.float32
    np.testing.assert_array_equal(c["boxes"].numpy(), sets[index].astype(np.float32))
    whole = load(rng.standard_normal((30, 2)), condition={"boxes": Shared(sets[:2], index % 2, "set")})
    assert not whole.spec.conditions[0].missing
    spec = replace(data.spec, conditions=(replace(data.spec.conditions[0], event_shape=(5, 3)),))
    with pytest.raises(DataError, match=r"is a set \(4, 3\), but the model needs a set \(5, 3\)"):
        load_like(rng.standard_normal((30, 2)), spec, condition={"boxes": Shared(sets, index, "set")})


def test_shared_labels_are_numbered_kept_and_renumbered_as_others_are(rng):
    x = rng.standard_normal((40, 2))
    data = load(x, condition={"label": Shared(np.array([10, 20, 30]), np.arange(40) % 3)}, labelled=6)
    stored = data.train.condition("label")
    assert torch.bincount(stored[stored >= 0]).tolist() == [2, 2, 2]
    other = load_like(x, data.spec, condition={"label": Shared(np.array([30, 10]), np.arange(40) % 2)})
    assert entries(other.all)[1]["label"].tolist() == [2, 0] * 20


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Shared(X, [0.5, 1.0]), DataError, r"one whole number per example; got \(2,\) torch.float32"),
        (lambda: Shared(X, [True, False]), DataError, r"one whole number per example"),
        (lambda: Shared(X, [[0], [1]]), DataError, r"got \(2, 1\) torch.int64"),
        (lambda: Shared(X, [0, 12]), DataError, r"index lies in \[0, 12\], but there are 12 values"),
        (lambda: Shared(X, [-1, 3]), DataError, r"index lies in \[-1, 3\]"),
        (lambda: Shared(X, [0, 1], "label"), ConfigError, r"kinds 'vector', 'image' and 'set'; got 'label'"),
    ],
)
def test_wrong_shared_values_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("kind", ["numbers", "words", "floats"])
def test_a_group_lies_in_one_split(rng, kind):
    groups = rng.integers(0, 50, 600) * 3
    given = {"numbers": groups, "words": groups.astype(str), "floats": groups / 7}[kind]
    x = np.stack([np.arange(600), groups], 1).astype(np.float32)
    data = load(x, groups=given, split=(0.6, 0.2, 0.2), seed=4)
    parts = [set(entries_x(getattr(data, name))[:, 1].tolist()) for name in SPLITS]
    assert [len(part) for part in parts] == [30, 10, 10]
    assert set.union(*parts) == set(groups.tolist())
    assert sum(len(getattr(data, name)) for name in SPLITS) == 600
    order = entries_x(data.train)[:, 0]
    assert not torch.equal(order, order.sort().values)  # permuted as without groups
    again, other = (load(x, groups=given, split=(0.6, 0.2, 0.2), seed=seed) for seed in (4, 5))
    assert torch.equal(entries_x(again.train), entries_x(data.train))
    assert set(entries_x(other.test)[:, 1].tolist()) != parts[2]
    assert torch.equal(entries_x(data.all)[:, 0], torch.arange(600.0))


def entries_x(split):
    return torch.cat([x for x, _ in split.batches(1000)])


def test_three_groups_are_one_for_each_split():
    data = load(X, groups=N % 3)
    assert [len({x % 3 for x in entries_x(getattr(data, name))[:, 0].tolist()}) for name in SPLITS] == [
        1,
        1,
        1,
    ]


def test_groups_of_a_file_come_from_a_file(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "groups.npy", N % 4)
    with pytest.raises(
        ConfigError, match=r"can be read again, but not groups= from memory; .* give the path"
    ):
        load(tmp_path / "x.npy", groups=N % 4)
    data = load(tmp_path / "x.npy", groups=tmp_path / "groups.npy", seed=2)
    again = load(data.spec.source, **json.loads(json.dumps(data.options)))
    for name in SPLITS:
        assert torch.equal(entries_x(getattr(again, name)), entries_x(getattr(data, name)))
    assert "groups" not in load(X, groups=N % 4).options
    np.savez(tmp_path / "own.npz", train=X, valid=X, test=X)
    with pytest.raises(ConfigError, match=r"groups= is for sources without a split of their own"):
        load(tmp_path / "own.npz", groups=tmp_path / "groups.npy")


@pytest.mark.parametrize("use", ["label_column", "condition"])
def test_classes_of_true_and_false_are_written_as_in_the_file(tmp_path, use):
    def table(name, words):
        lines = [f"{i / 7:.3f},{words[i % 3 == 0]}" for i in range(60)]
        (tmp_path / name).write_text("\n".join(["x,active", *lines]) + "\n")
        return tmp_path / name

    data = load(table("r.csv", ("FALSE", "TRUE")), **{use: "active"})
    known = data.spec.classes if use == "label_column" else data.spec.conditions[0].classes
    assert known == ("FALSE", "TRUE")
    # Another program writes them in other letters, and Python as it does.
    for words in (("false", "true"), ("False", "True")):
        own = {"label_column": "active"} if use == "label_column" else {}
        like = load_like(table("n.csv", words), data.spec, **own)
        assert (like.spec.classes if use == "label_column" else like.spec.conditions[0].classes) == known
        part = like.all
        numbers = part.labels if use == "label_column" else part.condition("active")
        assert numbers.tolist() == [int(i % 3 == 0) for i in range(60)]


def test_inspect_writes_true_and_false_as_the_file_does(tmp_path):
    from lowerbound.data.schema import words

    (tmp_path / "t.csv").write_text(
        "x,a\n" + "".join(f"{i / 7:.3f},{('FALSE', 'TRUE')[i % 2]}\n" for i in range(60))
    )
    table = load(tmp_path / "t.csv").spec.table
    assert words(table[1])[1] == "FALSE, TRUE"
