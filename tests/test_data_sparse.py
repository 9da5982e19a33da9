"""Sparse matrices: the same examples as dense ones, sparse until a batch is drawn; counts are known to be counts."""

import tracemalloc
import types
import zipfile

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.stats import nbinom

import lowerbound as lb
from lowerbound.errors import ConfigError, DataError
from lowerbound.likelihoods import Multinomial, NegativeBinomial


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    return rng.poisson(0.3 * rng.gamma(1.0, size=(60, 1)), size=(60, 12)) + np.eye(60, 12, dtype=int) * 3


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "lil_matrix"])
def test_a_sparse_matrix_is_the_dense_one(counts, form):
    data = lb.data.load(getattr(scipy.sparse, form)(counts))
    dense = lb.data.load(counts, values="count")
    assert data.spec.values == "count"
    for name in ("train", "valid", "test"):
        ours, others = getattr(data, name), getattr(dense, name)
        torch.testing.assert_close(*(s.batch(torch.arange(len(s)))[0] for s in (ours, others)))
    torch.testing.assert_close(data.all.batch(torch.arange(60))[0], torch.tensor(counts).float())
    torch.testing.assert_close(data.mean, dense.mean)
    torch.testing.assert_close(data.std, dense.std)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_scipys_own_file_is_read_without_its_pickles(counts, form, tmp_path):
    path = tmp_path / "counts.npz"
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(counts).asformat(form))
    data = lb.data.load(path)
    torch.testing.assert_close(data.all.batch(torch.arange(60))[0], torch.tensor(counts).float())
    again = lb.data.load(data.spec.source, **data.options)
    assert torch.equal(again.train.batch(torch.arange(9))[0], data.train.batch(torch.arange(9))[0])


def test_a_matrix_stays_sparse_in_memory_until_the_batch():
    rows, columns = 4000, 5000  # 80 MB of float32
    rng = np.random.default_rng(0)
    places = rng.integers(0, columns, (rows, 5))
    matrix = scipy.sparse.csr_matrix(
        (np.ones(rows * 5, np.float32) * 2, places.ravel(), np.arange(0, rows * 5 + 1, 5)), (rows, columns)
    )
    tracemalloc.start()
    data = lb.data.load(matrix)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 8e6
    assert data.train.batch(torch.arange(7))[0].shape == (7, columns)


def test_what_a_sparse_matrix_holds_says_what_it_is(counts):
    for values, wanted in (((counts > 0) * 1, "binary"), (counts * 0.5, "real"), (-counts, "real")):
        assert lb.data.load(scipy.sparse.csr_matrix(values)).spec.values == wanted
    with pytest.raises(ConfigError, match="whole numbers, none negative"):
        lb.data.load(counts * 0.5, values="count")
    assert lb.data.load(counts).spec.values == "real"  # of a dense array this is for the user to say
    assert "values='count'" in str(lb.data.load(counts).notes)


def test_counts_have_a_likelihood_of_counts_given_their_library(counts):
    data = lb.data.load(scipy.sparse.csr_matrix(counts))
    model = lb.VAE.for_data(data, latent=2)
    assert isinstance(model.likelihood, NegativeBinomial)
    assert model.likelihood.given == "library"
    assert isinstance(lb.VAE.for_data(data, latent=2, likelihood="multinomial").likelihood, Multinomial)
    with pytest.raises(ConfigError, match=r"unless they are counts \(values='count'\)"):
        lb.VAE.for_data(lb.data.load(counts), likelihood="poisson")
    numbers = lb.evaluate.summary(model, data.test, samples=10, progress=False)
    assert numbers["given"] == "library"


def test_a_model_of_counts_takes_sparse_matrices_and_refuses_what_is_no_count(counts):
    data = lb.data.load(scipy.sparse.csr_matrix(counts))
    model = lb.VAE.for_data(data, latent=2)
    dense = model.log_prob(torch.tensor(counts[:5]).float(), seed=0)
    for x in (
        scipy.sparse.csr_matrix(counts[:5]),
        scipy.sparse.csc_matrix(counts[:5]).astype(np.float32),
        counts[:5],
    ):
        torch.testing.assert_close(model.log_prob(x, seed=0), dense)
    with pytest.raises(DataError, match="give raw counts"):
        model.log_prob(scipy.sparse.csr_matrix(counts[:5] * 0.5))


def test_missing_counts_are_not_scored(counts):
    values = counts.astype(float)
    values[::7, 3] = np.nan
    data = lb.data.load(values, values="count")
    model = lb.VAE.for_data(data, latent=2, likelihood={"type": "negative_binomial", "library": "none"})
    assert data.spec.missing
    assert model.log_prob(torch.tensor(values).float(), seed=0).isfinite().all()


# ------------------------------------------------------------------------------------------ AnnData
def annotated(x, **more):
    """What of an AnnData is read."""
    names = [f"gene {i}" for i in range(x.shape[1])]
    obs = {
        "batch": np.array([["a", "b"][i % 2] for i in range(x.shape[0])]),
        "depth": np.arange(float(x.shape[0])),
    }
    return types.SimpleNamespace(X=x, obs=obs, var_names=names, **more)


@pytest.mark.parametrize("sparse", [True, False])
def test_an_annotated_matrix_names_its_columns_and_gives_conditions(counts, sparse):
    cells = annotated(scipy.sparse.csr_matrix(counts) if sparse else counts)
    data = lb.data.load(cells, condition=["batch", "depth"])
    assert data.spec.values == "count"
    assert data.spec.columns[:2] == ("gene 0", "gene 1")
    assert [(entry.name, entry.kind) for entry in data.spec.conditions] == [
        ("batch", "label"),
        ("depth", "vector"),
    ]
    x, c = data.all.batch(torch.arange(60))
    torch.testing.assert_close(x, torch.tensor(counts).float())
    torch.testing.assert_close(c["depth"][:, 0], torch.arange(60.0))
    assert c["batch"].tolist() == [i % 2 for i in range(60)]
    with pytest.raises(DataError, match=r"obs of the AnnData has no column 'batches'.*batch"):
        lb.data.load(cells, condition="batches")


def test_normalised_values_of_an_annotated_matrix_point_to_its_layers(counts):
    cells = annotated(scipy.sparse.csr_matrix(np.log1p(counts)), layers={"counts": counts})
    data = lb.data.load(cells)
    assert data.spec.values == "real"
    assert "counts may be in a layer: counts" in str(data.notes)
    with pytest.raises(DataError, match="read it into memory first"):
        lb.data.load(annotated(types.SimpleNamespace(shape=(60, 12))))


# ------------------------------------------------------------------------------------------ damaged files
def rewritten(path, **changes):
    """The file with other members."""
    with np.load(path) as stored:
        np.savez(path, **({name: stored[name] for name in stored.files} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": np.full(5, 99, np.int32)},
        {"indptr": np.array([0, 7, 3], np.int32)},
        {"shape": np.array([10**9, -3])},
        {"shape": np.array([60])},
        {"format": np.array(b"lil")},
        {"format": np.array(["csr", "csr"])},
        {"data": np.array(["a", "b"])},
    ],
)
def test_damaged_sparse_files_are_refused_in_a_sentence(counts, tmp_path, changes):
    path = tmp_path / "counts.npz"
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(counts))
    rewritten(path, **changes)
    with pytest.raises(DataError, match=r"counts\.npz") as caught:
        lb.data.load(path)
    assert len(str(caught.value)) < 500


def test_no_pickle_in_a_sparse_file_is_opened(counts, tmp_path):
    path = tmp_path / "counts.npz"
    scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(counts))
    rewritten(path, data=np.array([{}, {}], dtype=object))
    with pytest.raises(DataError, match="pickles"):
        lb.data.load(path)
    with zipfile.ZipFile(path) as archive:
        assert "data.npy" in archive.namelist()


def test_a_file_of_anndata_says_how_it_is_read(tmp_path):
    (tmp_path / "cells.h5ad").write_bytes(b"\x89HDF")
    with pytest.raises(DataError, match=r"anndata\.read_h5ad"):
        lb.data.load(tmp_path / "cells.h5ad")


def test_an_empty_sparse_matrix_is_refused():
    with pytest.raises(DataError, match="is empty"):
        lb.data.load(scipy.sparse.csr_matrix((0, 5)))


# ------------------------------------------------------------------------------------------ dispersion by condition
def two_labs(n=400):
    """Counts of the same means in two labs, of which one is noisier: θ 20 and 1."""
    rng = np.random.default_rng(0)
    lab = rng.integers(0, 2, n)
    theta = np.where(lab == 0, 20.0, 1.0)[:, None]
    return rng.negative_binomial(theta, theta / (theta + 10.0), (n, 6)), lab


@pytest.mark.runs
def test_a_dispersion_by_condition_is_that_of_its_class(tmp_path):
    x, lab = two_labs()
    data = lb.data.load(x, condition={"lab": lab}, values="count", seed=0)
    family = {"type": "negative_binomial", "library": "none", "dispersion": "condition"}
    model = lb.VAE.for_data(data, latent=1, likelihood=family, network={"type": "mlp", "hidden": [16]})
    lb.fit(model, data, epochs=60, learning_rate=1e-2, progress=False, out=tmp_path / "run")
    again = lb.load(tmp_path / "run").double()
    z, u = torch.zeros(1, 2, 1, dtype=torch.float64), torch.as_tensor(x[:2]).double()
    theta = {}
    for k in (0, 1):
        view = again.at({"lab": torch.tensor([k, k])})
        p = view.decoded(z)
        found = again.likelihood.log_theta + view.context[0] @ again.likelihood.of_condition
        theta[k] = (12 * torch.tanh(found / 12)).exp().detach().numpy()
        mean = p.mean[0].detach().numpy()
        exact = nbinom(theta[k], theta[k] / (theta[k] + mean)).logpmf(x[:2]).sum(1)
        assert view.log_likelihood(p, u)[0].detach().numpy() == pytest.approx(exact, abs=1e-6)
    assert np.median(theta[0]) > 6
    assert 0.6 < np.median(theta[1]) < 1.6


def test_a_dispersion_by_condition_needs_a_condition():
    data = lb.data.load(two_labs()[0], values="count")
    with pytest.raises(ConfigError, match="the data have none"):
        lb.VAE.for_data(data, likelihood={"type": "negative_binomial", "dispersion": "condition"})
