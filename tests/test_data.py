"""How stored values become x, the splits' contract, and the exactness of binarisation and dequantisation."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from lowerbound.data import DataSpec, Standardize, load, reading
from lowerbound.data.reading import Reading, draw_binary, random_bits
from lowerbound.data.rows import TensorRows, join
from lowerbound.errors import ConfigError


@pytest.fixture
def grey(rng):
    return rng.integers(0, 256, (200, 5, 3), dtype=np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def everything(split, batch_size=64, seed=0):
    return torch.cat([x for x, _ in split.batches(batch_size, seed=seed)])


# ---------------------------------------------------------------- binarisation


@pytest.mark.parametrize("white", [255, 16])
def test_probability_of_every_level_is_v_over_white(monkeypatch, white):
    every_bit_pattern = torch.arange(2**15, dtype=torch.int16)
    monkeypatch.setattr(
        reading, "random_bits", lambda shape, device, generator: every_bit_pattern.expand(shape)
    )
    v = torch.arange(white + 1, dtype=torch.uint8)[:, None].expand(-1, 2**15)
    p = draw_binary(v, white).double().mean(1)
    exact = torch.arange(white + 1, dtype=torch.float64) / white
    assert (p - exact).abs().max() <= 2**-15
    assert p[0] == 0
    assert p[-1] == 1


def test_draws_have_the_probability():
    n = 4_000_000
    p = draw_binary(torch.full((n, 1), 128, dtype=torch.uint8), 255).double().mean().item()
    exact = 128 / 255  # 128/256 is eight standard errors away
    assert abs(p - exact) < 4 * math.sqrt(exact * (1 - exact) / n)
    assert draw_binary(torch.full((n, 1), 255, dtype=torch.uint8), 255).all()
    assert not draw_binary(torch.zeros((n, 1), dtype=torch.uint8), 255).any()


@pytest.mark.parametrize("size", [1, 3, 4, 784])
def test_random_bits_are_uniform_and_independent(size):
    bits = random_bits(torch.Size((2_000_000 // size, size)), torch.device("cpu"))
    assert bits.shape == (2_000_000 // size, size)
    assert bits.dtype == torch.int16
    n = bits.numel()
    assert bits.min() >= 0
    assert bits.unique().numel() == 2**15
    for power in range(15):
        assert abs((bits >> power & 1).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(n)
    u = bits.double().flatten() / 2**15 - 0.5
    for lag in (1, 2, 3, 4):
        assert abs((u[:-lag] * u[lag:]).mean().item()) < 5 / 12 / math.sqrt(n)


def test_dynamic_draws_are_fresh_and_follow_the_global_generator(grey):
    data = load(grey, binarize="dynamic")
    index = torch.arange(50)
    torch.manual_seed(1)
    first, second = data.train.batch(index)[0], data.train.batch(index)[0]
    torch.manual_seed(1)
    again = data.train.batch(index)[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert first.dtype == torch.float32
    assert set(first.unique().tolist()) == {0.0, 1.0}


def test_static_is_one_draw_fixed_by_the_seed(grey):
    data, same, other = (load(grey, binarize="static", seed=seed) for seed in (0, 0, 1))
    assert data.train.rows.tensor.dtype == torch.uint8
    assert torch.equal(data.train.batch(torch.arange(9))[0], data.train.batch(torch.arange(9))[0])
    assert torch.equal(everything(data.train), everything(same.train, seed=5))
    assert everything(data.train).mean() != everything(other.train).mean()
    flat = np.full((60, 4, 4), 100, np.uint8)  # the permutation does not show, the draw does
    draws = [everything(load(flat, binarize="static", seed=seed).train) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    p = data.train.moments()[0].mean().item()
    assert abs(p - grey.mean() / 255) < 0.05
    black_or_white = load(np.where(grey > 99, 255, 0).astype(np.uint8), binarize="static")
    assert torch.equal(everything(black_or_white.all), everything(load(grey > 99).all))


def test_threshold_is_above_half_of_white():
    v = np.full((4, 2, 2), 127, np.uint8)
    v[:, 0] = 128
    x = everything(load(v, binarize="threshold").train)
    assert (x[:, :, 0] == 1).all()
    assert (x[:, :, 1] == 0).all()
    digits, raw = load("digits", binarize="threshold"), load("digits", dequantize=False, binarize="none")
    assert torch.equal(everything(digits.valid), (everything(raw.valid) * 16 > 8).float())


def test_floats_in_the_unit_interval_are_probabilities(rng):
    p = rng.random((40, 3, 3)).astype(np.float32)
    train = load(p, binarize="dynamic").train
    mean = torch.stack([everything(train, seed=seed) for seed in range(800)]).mean(0)
    exact = everything(load(p).train)
    error = (mean - exact) / (exact * (1 - exact) / 800).sqrt().clamp(min=1e-3)
    assert error.abs().max() < 5.5
    assert abs(error.square().mean().item() - 1) < 0.35


# -------------------------------------------------------------- dequantisation


def test_dequantised_values_fill_their_cell_and_stay_inside():
    r = Reading("dequantise", 255.0)
    v = torch.tensor([0, 1, 127, 254, 255], dtype=torch.uint8).expand(400_000, 5)
    x = r(v)
    assert torch.equal((x.double() * 256).floor().byte(), v)  # float32 never rounds up into the next cell
    assert x.max() < 1
    assert x.min() > 0
    u = x.double() * 256 - v
    n = u.numel()
    assert abs(u.mean().item() - 0.5) < 5 / math.sqrt(12 * n)
    assert abs(u.var().item() - 1 / 12) < 5 * math.sqrt(1 / 180 / n)
    assert u.min() < 1e-4
    assert u.max() > 1 - 1e-4


def test_bytes_are_dequantised_with_their_log_volume(grey):
    spec = load(grey).spec
    assert (spec.values, spec.levels, spec.binarize) == ("unit", 256, "none")
    assert spec.log_volume == pytest.approx(15 * math.log(256), rel=1e-15)
    digits = load("digits", binarize="none")
    assert digits.spec.levels == 17
    assert digits.spec.log_volume == pytest.approx(64 * math.log(17), rel=1e-15)
    exact = load(grey, dequantize=False)
    assert exact.spec.levels is None
    assert exact.spec.log_volume == 0
    assert set((everything(exact.train) * 255).round().int().unique().tolist()) <= set(range(256))
    assert torch.equal((everything(load(grey).train) * 256).floor(), (everything(exact.train) * 255).round())


def test_digits_reach_both_ends():
    digits = everything(load("digits", binarize="none", dequantize=False).train)
    assert digits.max() == 1
    assert digits.min() == 0
    assert everything(load("digits", binarize="none").train).max() > 16 / 17


# ------------------------------------------------------------------- the splits


@pytest.mark.parametrize("shape", [(5, 3), (4, 4)])
@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_batches_repeat_and_do_not_depend_on_batch_size_or_global_generator(rng, shape, binarize):
    test = load(rng.integers(0, 256, (300, *shape), dtype=np.uint8), binarize=binarize).train
    torch.manual_seed(3)
    before = torch.get_rng_state()
    whole = everything(test, batch_size=1000)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(whole, everything(test, batch_size=7))
    assert not torch.equal(whole, everything(test, seed=1))
    part = list(test.batches(100, limit=150))
    assert [len(x) for x, _ in part] == [100, 50]
    assert torch.equal(torch.cat([x for x, _ in part]), whole[:150])
    assert torch.equal(everything(test.take(30)), whole[:30])


def test_consumer_draws_between_batches_change_nothing(grey):
    split = load(grey, binarize="dynamic").train
    expected = [x for x, _ in split.batches(30)]
    for x, other in zip(expected, split.batches(30), strict=True):
        torch.rand(11)
        assert torch.equal(x, other[0])


def test_splits_are_a_seeded_partition_with_their_labels():
    x = np.arange(1000, dtype=np.float32).repeat(2).reshape(1000, 2)
    data = load(x, labels=np.arange(1000) // 100)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [800, 100, 100]
    assert [s.name for s in (data.train, data.valid, data.test)] == ["train", "valid", "test"]
    rows = [everything(s)[:, 0].long() for s in (data.train, data.valid, data.test)]
    assert sorted(torch.cat(rows).tolist()) == list(range(1000))
    assert rows[2].tolist() != sorted(rows[2].tolist())
    for split, row in zip((data.train, data.valid, data.test), rows, strict=True):
        assert torch.equal(split.labels, row // 100)
        assert split.labels.dtype == torch.int64
        assert split.batch(torch.tensor([4, 0]))[1] is None
    assert torch.equal(data.train.take(5).labels, data.train.labels[:5])
    assert torch.equal(everything(load(x).test), everything(data.test))
    assert not torch.equal(everything(load(x, seed=1).test), everything(data.test))


@pytest.mark.parametrize("n", [3, 4, 5, 11])
@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.01, 0.01, 0.98), (0.01, 0.98, 0.01)])
def test_no_split_is_empty(n, shares):
    data = load(np.random.default_rng(0).normal(size=(n, 2)), split=shares)
    sizes = [len(s) for s in (data.train, data.valid, data.test)]
    assert min(sizes) >= 1
    assert sum(sizes) == n


def test_data_do_not_change_with_the_array_they_came_from(grey):
    data = load(grey)
    before = everything(data.train)
    grey[:] = 0
    assert torch.equal(everything(data.train), before)


def test_storage_type_is_kept_and_indexing_takes_any_order(grey):
    train = load(grey, dequantize=False).train
    assert train.rows.tensor.dtype == torch.uint8
    assert load(grey.astype(np.float64) / 255, axes="NHW").train.rows.tensor.dtype == torch.float32
    whole = everything(train)
    index = torch.tensor([5, 1, 1, 30])
    assert torch.equal(train.batch(index)[0], whole[index])
    assert whole.shape == (160, 1, 5, 3)


def test_to_moves_the_storage_and_the_moments(grey):
    data = load(grey, labels=np.arange(200) % 3)
    mean = data.mean
    moved = data.to("meta")
    assert moved.train.rows.device.type == "meta"
    assert moved.test.labels.device.type == "meta"
    assert moved.mean.device.type == "meta"
    assert data.to("cpu").mean.equal(mean)
    assert data.train.rows.device.type == "cpu"


@pytest.mark.parametrize(
    "call", [lambda s: s.take(0), lambda s: s.batches(0), lambda s: s.batches(1, limit=0)]
)
def test_sizes_must_be_positive(grey, call):
    with pytest.raises(ConfigError, match=r"at least"):
        call(load(grey).train)


@pytest.mark.parametrize(("n", "world"), [(7, 1), (10, 3), (12, 4), (3, 5)])
def test_order_deals_one_permutation_to_the_ranks(rng, n, world):
    train = load(rng.normal(size=(2 * n + 9, 2))).train.take(n)
    shares = [train.order(5, rank, world) for rank in range(world)]
    whole = torch.randperm(n, generator=torch.Generator().manual_seed(5))
    for rank, share in enumerate(shares):
        assert torch.equal(share, whole[rank::world])
    assert sorted(torch.cat(shares).tolist()) == list(range(n))
    assert torch.equal(train.order(5), whole)
    assert not torch.equal(train.order(6), whole)


@pytest.mark.parametrize(("rank", "world"), [(-1, 2), (2, 2), (0, 0)])
def test_order_refuses_a_rank_that_is_none(grey, rank, world):
    with pytest.raises(ConfigError, match=f"rank {rank} of {world}"):
        load(grey).train.order(0, rank, world)


# -------------------------------------------------------------------- moments


@pytest.mark.parametrize(
    "options",
    [
        {"binarize": "none"},
        {"binarize": "none", "dequantize": False},
        {"binarize": "dynamic"},
        {"binarize": "static"},
        {"binarize": "threshold"},
        {"values": "real"},
        {"values": "categorical"},
    ],
)
def test_moments_are_those_of_x_over_data_and_draws(rng, options):
    v = (rng.beta(0.5, 0.5, (60, 3, 3)) * 255).astype(np.uint8)
    v[:, 0, 0] = 200  # where the draw alone gives the variance
    data = load(v, **options)
    x = torch.stack([everything(data.train, seed=seed) for seed in range(3000)]).double()
    mean, std = x.mean((0, 1)), x.std((0, 1), correction=0)
    scale = 255 if data.spec.values in ("real", "categorical") else 1
    assert data.mean.shape == data.std.shape == (1, 3, 3)
    assert data.mean.dtype == torch.float32
    assert torch.allclose(data.mean.double(), mean, rtol=0, atol=6e-3 * scale)
    assert torch.allclose(data.std.double(), std, rtol=0, atol=6e-3 * scale)
    if options == {"binarize": "none"}:
        assert data.std[0, 0, 0].item() == pytest.approx(1 / 256 / math.sqrt(12), rel=1e-6)
        assert data.mean[0, 0, 0].item() == pytest.approx(200.5 / 256, rel=1e-6)


def test_moments_do_not_cancel_and_need_no_single_chunk(monkeypatch, rng):
    monkeypatch.setattr("lowerbound.data.rows._CHUNK", 64)
    x = rng.normal(size=(500, 4)) + np.array([0, 1e3, -1e3, 3e3])
    data = load(x)
    train = everything(data.train).double()
    assert torch.allclose(data.mean.double(), train.mean(0), rtol=1e-6, atol=1e-6)
    assert torch.allclose(data.std.double(), train.std(0, correction=0), rtol=1e-6)


# ------------------------------------------------------------ spec and transform


def test_spec_survives_json():
    spec = DataSpec(
        "a.csv", "vector", (3,), "categorical", categories=4, columns=("a", "b", "c"), classes=("x",)
    )
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.dimensions == 3
    spec = load("digits").spec
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.dimensions == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levls": 3}, "did you mean 'levels'"),
        ({"kind": "imgae"}, "did you mean 'image'"),
        ({"values": "bits"}, "options: binary"),
        ({"binarize": "dynmic"}, "did you mean 'dynamic'"),
    ],
)
def test_spec_refuses_what_it_does_not_know(change, message):
    stored = load("digits").spec.to_dict()
    with pytest.raises(ConfigError, match=message):
        DataSpec.from_dict(stored | change)


def test_spec_names_what_is_missing():
    with pytest.raises(ConfigError, match="lacks kind, event_shape"):
        DataSpec.from_dict({"source": "a", "values": "real"})


def test_standardize_is_inverted_and_its_log_det_is_the_jacobians(rng):
    mean, std = torch.from_numpy(rng.normal(size=(2, 3))), torch.from_numpy(rng.random((2, 3)) + 0.2)
    transform = Standardize(mean, std)
    x = torch.from_numpy(rng.normal(size=(5, 2, 3)))
    assert torch.allclose(transform(x), (x - mean) / std, rtol=1e-12)
    assert torch.allclose(transform.inverse(transform(x)), x, rtol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda row: transform(row).flatten(), x[0]).reshape(6, 6)
    assert torch.allclose(transform.log_det, torch.linalg.slogdet(jacobian)[1], rtol=1e-12)
    assert transform.log_det.shape == ()
    assert set(transform.state_dict()) == {"mean", "std"}


def test_standardize_gives_unit_moments_and_leaves_constants_finite(rng):
    x = np.stack([rng.normal(5, 3, 400), np.full(400, 0.1), rng.normal(0, 1e-3, 400)], 1)
    data = load(x)
    transform = Standardize(data.mean, data.std)
    u = transform(everything(data.train))
    assert torch.allclose(u.mean(0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(u.std(0, correction=0), torch.tensor([1.0, 0.0, 1.0]), atol=1e-4)
    assert transform.std[1] == 1


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (torch.zeros(2), torch.ones(3), "shape"),
        (torch.zeros(2), torch.tensor([1.0, -1.0]), "negative"),
        (torch.tensor([0.0, math.nan]), torch.ones(2), "finite"),
    ],
)
def test_standardize_refuses_what_is_no_scale(mean, std, message):
    with pytest.raises(ConfigError, match=message):
        Standardize(mean, std)


@pytest.mark.processes
def test_importing_data_brings_neither_pandas_nor_pillow_nor_sklearn():
    code = "import sys, lowerbound.data; print({'pandas', 'PIL', 'sklearn', 'pyarrow'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


# ------------------------------------------------------------------------------------------ everything, in its order
@pytest.mark.parametrize("mapped", [False, True], ids=["memory", "memory-mapped"])
def test_all_has_every_example_with_its_label_in_the_order_of_the_source(tmp_path, mapped):
    x = np.arange(60, dtype=np.float32).reshape(20, 3)
    y = np.arange(20) % 4
    source = x
    if mapped:
        source = tmp_path / "x.npy"
        np.save(source, x)
    data = load(source, labels=y, seed=3)
    assert not torch.equal(
        data.train.batch(torch.arange(len(data.train)))[0], torch.from_numpy(x[: len(data.train)])
    )
    everything, _ = data.all.batch(torch.arange(20))
    assert torch.equal(everything, torch.from_numpy(x))
    assert torch.equal(data.all.labels, torch.from_numpy(y))


def test_all_of_a_source_with_its_own_split_is_train_then_valid_then_test(tmp_path):
    parts = {name: np.full((2, 3), i, np.float32) for i, name in enumerate(("train", "valid", "test"))}
    np.savez(tmp_path / "x.npz", **parts)
    everything, _ = load(tmp_path / "x.npz").all.batch(torch.arange(6))
    assert everything[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_data_that_would_fill_a_device_stay_and_are_read_to_it(monkeypatch):
    device, x = torch.device("meta"), torch.arange(20.0).reshape(10, 2)
    monkeypatch.setattr("lowerbound.data.rows.free_on", lambda device: 100)
    kept = TensorRows(x).to(device)
    for rows in (kept, join([kept, kept]), kept.select(np.array([3, 1]))):
        assert rows.tensor.device.type == "cpu"
        assert (rows.device, rows.read(torch.tensor([1])).device) == (device, device)
    assert torch.equal(kept.select(np.array([3, 1])).tensor, x[[3, 1]])
    assert len(join([kept, kept])) == 20
    monkeypatch.setattr("lowerbound.data.rows.free_on", lambda device: 1000)
    assert TensorRows(x).to(device).tensor.device == device
    assert torch.equal(TensorRows(x).to(torch.device("cpu")).read(torch.tensor([4])), x[4:5])
