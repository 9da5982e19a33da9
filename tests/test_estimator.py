"""The estimators keep scikit-learn's contract, and what they say of rows is what the model says of them."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lowerbound as lb
from lowerbound.errors import ConfigError, DataError
from lowerbound.estimator import VAE, VAEImputer, VAEOutlierDetector

pytestmark = pytest.mark.runs

CLASSES = (VAE, VAEOutlierDetector, VAEImputer)
SMALL = {"latent": 2, "hidden": (4,), "epochs": 2, "samples": 8, "random_state": 0}
WINE, KINDS = load_wine(return_X_y=True)


@parametrize_with_checks([cls(**SMALL) for cls in CLASSES])
@pytest.mark.filterwarnings("ignore")  # of the checks' own data
def test_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def people():
    """Return a table of numbers, whole numbers, words, truths and dates, in which words tell of numbers."""
    rng = np.random.default_rng(0)
    n = 200
    kind = rng.integers(0, 3, n)
    return pd.DataFrame(
        {
            "height": (150 + 15 * kind + rng.normal(size=n) * 2).astype("float32"),
            "children": rng.poisson(1 + kind),
            "town": pd.Categorical(
                np.array(["Graz", "Linz", "Wien"])[kind], ["Graz", "Linz", "Wien", "Bonn"]
            ),
            "word": np.array(["a", "b", "c"])[kind],
            "member": kind > 1,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
        },
        index=np.arange(n) + 7,
    )


# ---------------------------------------------------------------------------------------- what the numbers mean
def correlated(n=400, seed=0):
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(5, 2))
    noise = np.array([0.3, 0.5, 0.4, 0.6, 0.5])
    spread = np.array([1.0, 10.0, 0.1, 1.0, 100.0])
    covariance = spread[:, None] * (loadings @ loadings.T + np.diag(noise)) * spread
    truth = multivariate_normal(mean=np.array([0.0, 5.0, 1.0, -2.0, 1e7]), cov=covariance)
    return truth, truth.rvs(n, random_state=seed)


def test_of_gaussian_data_the_density_is_about_the_true_one_in_the_units_of_x():
    truth, X = correlated()
    new = truth.rvs(300, random_state=1)
    vae = VAE(2, likelihood="gaussian", epochs=1, learning_rate=1e-6, random_state=0).fit(X)
    assert abs(vae.score(new) - truth.logpdf(new).mean()) < 0.1


def test_without_training_it_is_factor_analysis():
    X = StandardScaler().fit_transform(WINE)
    usual = {"likelihood": "gaussian", "epochs": 1, "learning_rate": 1e-8, "random_state": 0}
    vae = VAE(3, components=1, **usual).fit(X)
    peer = FactorAnalysis(3, tol=1e-6, max_iter=5000).fit(X)
    assert np.abs(vae.score_samples(X) - peer.score_samples(X)).max() < 0.1


def test_without_training_its_prior_is_a_mixture_over_the_factors():
    rng = np.random.default_rng(0)
    centres = np.array([[6.0, 0, 0, 0], [0, 6, 0, 0], [0, 0, 6, 6]])
    X, held = (np.repeat(centres, n, 0) + rng.normal(size=(3 * n, 4)) for n in (60, 20))
    usual = {"likelihood": "gaussian", "epochs": 1, "learning_rate": 1e-8, "random_state": 0}
    vae = VAE(2, samples=2000, **usual).fit(X)
    model = vae.model_
    assert model.prior.components >= 3
    weights, means, scales = np.split(model.prior.numbers.detach().numpy(), [1, 3], 1)
    loadings = model.decoder.straight.weight.detach().numpy()[:4]
    bias, factor = model.decoder.output.bias.detach().numpy(), model.transform.std.numpy()
    noise = np.exp(20 * np.tanh(bias[4:] / 10))
    parts = [
        multivariate_normal(
            model.transform.mean.numpy() + factor * (loadings @ mean + bias[:4]),
            np.outer(factor, factor) * (loadings @ np.diag(np.exp(2 * scale)) @ loadings.T + np.diag(noise)),
        ).logpdf(held)
        for mean, scale in zip(means, scales, strict=True)
    ]
    exact = logsumexp(np.stack(parts) + weights - logsumexp(weights), 0)
    assert np.abs(vae.score_samples(held) - exact).max() < 0.1
    assert exact.mean() > VAE(2, components=1, **usual).fit(X).score(held) + 0.2


def test_the_likelihood_is_the_one_that_holds_for_rows_that_are_held_out():
    skewed = load_breast_cancer().data[:, :6]
    usual = {"latent": 2, "epochs": 1, "random_state": 0}
    columns = lb.likelihoods.Columns
    assert isinstance(VAE(**usual).fit(skewed).model_.likelihood, columns)
    assert not isinstance(VAE(**usual).fit(correlated()[1]).model_.likelihood, columns)


def test_the_search_finds_a_length_and_trains_on_all_rows(monkeypatch):
    monkeypatch.setattr("lowerbound.estimator._STEPS", 150)
    usual = {"latent": 2, "hidden": (8,), "likelihood": "gaussian", "batch_size": 200, "random_state": 0}
    vae = VAE(**usual, learning_rate=1e-2).fit(WINE)
    bounds = [record["bound"] for record in vae.history_ if record["split"] == "valid"]
    assert 1 < vae.n_iter_ <= 150
    assert max(bounds) > bounds[0]
    begun = VAE(**usual, epochs=1, learning_rate=1e-8).fit(WINE)
    assert vae.score(WINE) > begun.score(WINE) + 0.1
    assert VAE(**usual, minutes=0.01).fit(WINE).history_[-1]["seconds"] < 3


def test_a_column_that_never_changes_is_no_obstacle():
    X = np.c_[WINE[:, :3], np.full(len(WINE), 7.0)]
    vae = VAE(**SMALL).fit(X)
    assert np.isfinite(vae.score_samples(X)).all()
    assert vae.sample(50)[:, 3] == pytest.approx(7.0, abs=0.5)


# ---------------------------------------------------------------------------------------- weights, order, randomness
@pytest.mark.parametrize("cls", CLASSES)
def test_a_row_of_weight_two_is_the_row_twice(cls):
    X, weights = WINE[:40], np.arange(40) % 3
    weighted = cls(**SMALL).fit(X, sample_weight=weights)
    repeated = cls(**SMALL).fit(np.repeat(X, weights, 0)[::-1])
    gaps = X.copy()
    gaps[:, 1] = np.nan
    ask = (lambda e: e.transform(gaps)) if cls is VAEImputer else (lambda e: e.score_samples(X))
    assert ask(weighted) == pytest.approx(ask(repeated), rel=1e-9)
    assert np.abs(ask(weighted) - ask(cls(**SMALL).fit(X))).max() > 1e-3


def test_weights_that_are_no_whole_numbers_count_as_their_shares():
    X = np.r_[np.zeros((30, 2)), np.ones((30, 2))] + np.random.default_rng(0).normal(size=(60, 2)) / 10
    vae = VAE(1, likelihood="gaussian", epochs=1, learning_rate=1e-8, random_state=0)
    vae.fit(X, sample_weight=np.repeat([0.9, 0.1], 30))
    assert vae.sample(4000).mean() == pytest.approx(0.1, abs=0.05)


def test_weights_must_fit_the_rows():
    with pytest.raises(DataError, match="178 finite numbers"):
        VAE(**SMALL).fit(WINE, sample_weight=-np.ones(178))
    with pytest.raises(DataError, match="all sample weights are zero"):
        VAE(**SMALL).fit(WINE, sample_weight=np.zeros(178))


@pytest.mark.parametrize("state", [None, 3, np.random.RandomState(3)])
def test_global_generators_stay_where_they_are(state):
    before = np.random.get_state()[1].copy(), np.random.get_state()[2], torch.get_rng_state()  # noqa: NPY002
    for cls in CLASSES:
        estimator = cls(**SMALL | {"random_state": state}).fit(WINE)
        estimator.score_samples(WINE)
        if cls is VAE:
            estimator.sample(3)
        if cls is VAEImputer:
            estimator.draw(np.where(WINE > 100, np.nan, WINE), 2)
        pickle.loads(pickle.dumps(estimator))
    after = np.random.get_state()  # noqa: NPY002
    assert (before[0] == after[1]).all()
    assert before[1] == after[2]
    assert (before[2] == torch.get_rng_state()).all()


def test_a_seed_repeats_and_none_does_not():
    a, b = (VAE(**SMALL).fit(WINE).sample(3) for _ in range(2))
    assert (a == b).all()
    vae = VAE(**SMALL | {"random_state": None}).fit(WINE)
    assert (vae.sample(3) != vae.sample(3)).any()
    assert (vae.sample(3, random_state=1) == vae.sample(3, random_state=1)).all()


# ---------------------------------------------------------------------------------------- among the tools of sklearn
def test_in_a_pipeline_a_column_transformer_and_a_search():
    pipeline = make_pipeline(StandardScaler(), VAE(**SMALL), LogisticRegression()).fit(WINE, KINDS)
    assert pipeline.score(WINE, KINDS) > 0.8
    both = ColumnTransformer([("a", VAE(**SMALL), [0, 1, 2]), ("b", VAEImputer(**SMALL), [3, 4])])
    assert both.fit_transform(WINE).shape == (178, 4)
    X = np.random.default_rng(0).permutation(WINE)
    search = GridSearchCV(VAE(**SMALL, likelihood="gaussian"), {"latent": [1, 4]}, cv=2).fit(X)
    assert search.best_params_ == {"latent": 4}


def test_weights_are_routed_to_fit_and_score():
    with sklearn.config_context(enable_metadata_routing=True):
        vae = VAE(**SMALL).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(vae, {"latent": [1]}, cv=2)
        weights = np.arange(178) % 2
        weighted = search.fit(WINE, sample_weight=weights).best_estimator_
    alone = VAE(**SMALL | {"latent": 1}).fit(WINE[1::2])
    assert weighted.score_samples(WINE) == pytest.approx(alone.score_samples(WINE), rel=1e-9)
    assert weighted.score(WINE, sample_weight=weights) == pytest.approx(alone.score(WINE[1::2]))


@pytest.mark.parametrize("cls", CLASSES)
def test_arguments_are_kept_as_they_came_and_a_clone_is_unfitted(cls):
    hidden = [4]
    estimator = clone(cls(hidden=hidden, latent=1, epochs=1).fit(WINE))
    assert estimator.get_params()["hidden"] == hidden
    assert not hasattr(estimator, "model_")
    assert "random_state" in estimator.set_params(random_state=4)._repr_html_()


def test_pandas_output_has_names(people):
    vae = VAE(**SMALL).set_output(transform="pandas").fit(WINE)
    assert list(vae.transform(WINE).columns) == ["vae0", "vae1"] == list(vae.get_feature_names_out())
    imputer = VAEImputer(**SMALL).set_output(transform="pandas").fit(people)
    assert list(imputer.transform(people).columns) == list(people.columns)
    assert list(imputer.get_feature_names_out()) == list(people.columns)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("table", [False, True])
def test_pickle_and_joblib_keep_the_estimator(cls, table, people, tmp_path):
    X = people if table else WINE
    fitted = cls(**SMALL).fit(X)
    state = fitted.__getstate__()
    assert not any(isinstance(value, torch.nn.Module | torch.Tensor) for value in state.values())
    joblib.dump(fitted, tmp_path / "a.joblib")
    for other in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "a.joblib")):
        assert (other.score_samples(X) == fitted.score_samples(X)).all()


def test_the_model_is_saved_and_loaded_as_any_other(tmp_path):
    vae = VAE(**SMALL).fit(WINE)
    lb.save(vae.model_, tmp_path / "run")
    model = lb.load(tmp_path / "run")
    assert model.encode(torch.as_tensor(WINE)).numpy() == pytest.approx(
        vae.transform(WINE), rel=1e-4, abs=1e-5
    )


def test_partial_fit_goes_on_from_where_it_was():
    vae = VAE(**SMALL | {"epochs": 20, "learning_rate": 1e-2})
    before = vae.partial_fit(WINE[::2]).score(WINE[1::2])
    for _ in range(3):
        vae.partial_fit(WINE[1::2])
    assert vae.score(WINE[1::2]) > before
    with pytest.raises(ValueError, match="12 features"):
        vae.partial_fit(WINE[:, :12])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"likelihood": "gausian"}, "did you mean 'gaussian'"),
        ({"epochs": 3, "minutes": 1}, "leave one out"),
        ({"latent": 0}, "positive whole number"),
        ({"samples": None}, "positive whole number"),
        ({"epochs": -1}, "positive number"),
    ],
)
def test_an_impossible_argument_is_refused_at_fit(arguments, words):
    with pytest.raises(ConfigError, match=words):
        VAE(**SMALL | arguments).fit(WINE)


# ---------------------------------------------------------------------------------------- tables
def test_a_table_comes_back_with_its_types(people):
    vae = VAE(**SMALL).fit(people)
    for made in (vae.sample(20), vae.inverse_transform(vae.transform(people))):
        assert list(made.columns) == list(people.columns)
        assert list(made.dtypes) == list(people.dtypes)
    # Of whole numbers, words and dates a row has a probability, of one density in all.
    assert np.isfinite(vae.score_samples(people)).all()


def test_columns_without_a_meaning_are_named(people):
    with pytest.warns(UserWarning, match="no part of x: id"):
        vae = VAE(**SMALL).fit(people.assign(id=np.arange(200)))
    assert "id" not in vae.sample(2).columns


def test_outliers_of_a_table(people):
    strange = people.iloc[[0]].assign(height=np.float32(400.0))
    found = VAEOutlierDetector(**SMALL | {"contamination": 0.05}).fit(people)
    assert (found.predict(people) == -1).sum() == 10
    assert found.predict(strange) == [-1]


# ---------------------------------------------------------------------------------------- outliers and gaps
def test_outliers_are_the_rows_of_least_density():
    X = np.r_[correlated(200)[1], [[50.0, 0, 0, 0, 1e7]]]
    found = VAEOutlierDetector(2, epochs=1, contamination=1 / 201, random_state=0)
    assert (np.flatnonzero(found.fit_predict(X) == -1) == [200]).all()
    assert (found.decision_function(X) == found.score_samples(X) - found.offset_).all()
    with pytest.raises(ConfigError, match="contamination"):
        found.set_params(contamination=0.7).fit(X)


def test_gaps_get_their_conditional_mean_and_intervals_cover():
    truth, X = correlated(600)
    new = truth.rvs(300, random_state=1)
    asked, j = new.copy(), 1
    asked[:, j] = np.nan
    # The conditional Gaussian's mean and variance, by the covariance's blocks.
    rest = np.arange(5) != j
    gain = np.linalg.solve(truth.cov[np.ix_(rest, rest)], truth.cov[rest, j])
    mean = truth.mean[j] + (new[:, rest] - truth.mean[rest]) @ gain
    deviation = np.sqrt(truth.cov[j, j] - truth.cov[j, rest] @ gain)
    imputer = VAEImputer(
        2, likelihood="gaussian", hidden=(16,), epochs=60, batch_size=256, random_state=0
    ).fit(X)
    filled = imputer.transform(asked)
    assert (filled[:, rest] == new[:, rest]).all()
    assert np.sqrt(np.mean((filled[:, j] - mean) ** 2)) < 0.35 * deviation
    low, high = imputer.intervals(asked, 0.9)
    assert 0.83 < np.mean((low[:, j] < new[:, j]) & (new[:, j] < high[:, j])) < 0.97
    several = np.stack([x[:, j] for x in imputer.draw(asked, 50)])
    assert several.std(0).mean() == pytest.approx(deviation, rel=0.2)


def test_gaps_of_a_table_are_filled_and_the_rest_is_left(people):
    holes = people.copy()
    holes.loc[holes.index[:40], "word"] = None
    holes.loc[holes.index[40:60], "height"] = np.nan
    imputer = VAEImputer(**SMALL | {"epochs": 100, "batch_size": 256, "hidden": (16,), "samples": 100}).fit(
        holes
    )
    filled = imputer.transform(holes)
    assert list(filled.index) == list(people.index)
    assert not filled.isna().any().any()
    assert filled.iloc[60:].equals(people.iloc[60:])
    assert (filled["word"] == people["word"]).mean() > 0.95  # the other columns tell it
    assert all(not x.isna().any().any() for x in imputer.draw(holes, 2))
    low, high = imputer.intervals(holes)
    assert low["word"].isna().sum() == 40
    assert (low["height"] <= high["height"]).all()


def test_a_density_of_rows_without_gaps_refuses_them():
    vae = VAE(**SMALL).fit(WINE)
    gaps = np.where(np.random.default_rng(0).random(WINE.shape) < 0.2, np.nan, WINE)
    with pytest.raises(DataError, match="VAEImputer"):
        vae.score_samples(gaps)
    assert np.isfinite(VAE(**SMALL).fit(gaps).score_samples(gaps)).all()
    with pytest.raises(DataError, match="column 2 of X has no value"):
        VAE(**SMALL).fit(np.c_[WINE[:, :2], np.full(178, np.nan)])


@pytest.fixture(scope="module")
def hiding():
    """Correlated rows whose first two columns are missing rather where they are high, and which cells are."""
    x = correlated(800)[1][:, :4]
    x = (x - x.mean(0)) / x.std(0)
    rng = np.random.default_rng(1)
    hidden = np.zeros(x.shape, dtype=bool)
    hidden[:, :2] = rng.logistic(size=(len(x), 2)) < 3 * x[:, :2] - 1
    return x, hidden


def test_of_categories_that_say_each_other_half_may_be_missing():
    rng = np.random.default_rng(0)
    shares = np.array([30, 20, 15, 10, 6, 5, 4, 3, 3, 2, 1, 1]) / 100
    level = rng.choice(12, 1000, p=shares)
    table = pd.DataFrame(
        {
            "school": np.array([f"school {k:02}" for k in range(12)])[level],
            "years": 2 * level + 1,
            "job": rng.choice(["a", "b", "c", "d"], 1000, p=[0.5, 0.3, 0.1, 0.1]),
            "age": rng.normal(40, 10, 1000).round(),
        }
    )
    hidden = rng.random(table.shape) < 0.5
    gaps = table.mask(hidden)
    filled = VAEImputer(epochs=30, random_state=0).fit(gaps).draw(gaps, 1)[0]
    alone, both = hidden[:, 1] & ~hidden[:, 0], hidden[:, 1] & hidden[:, 0]
    assert (filled["years"] == table["years"])[alone].mean() > 0.5
    counts = np.bincount(filled["years"][both].astype(int) // 2, minlength=12) / both.sum()
    assert np.abs(counts - shares).sum() / 2 < 0.25


def test_values_that_hide_themselves_are_filled_where_they_are(hiding):
    x, hidden = hiding
    gaps = np.where(hidden, np.nan, x)
    imputer = VAEImputer(latent=2, components=1, gaps="self_masking_high", epochs=15, random_state=0).fit(
        gaps
    )
    true = np.mean([x[hidden[:, j], j].mean() for j in range(2)])
    means, draws = imputer.transform(gaps), imputer.draw(gaps, 1)[0]
    for filled in (means, draws):
        assert np.mean([filled[hidden[:, j], j].mean() for j in range(2)]) == pytest.approx(true, abs=0.2)
        assert np.array_equal(filled[~hidden], x[~hidden])
    # The rows that are there alone lead far below.
    by_chance = VAEImputer(
        latent=2, components=1, likelihood="columns", epochs=15, random_state=0
    ).fit_transform(gaps)
    assert np.mean([by_chance[hidden[:, j], j].mean() for j in range(2)]) < true - 0.3
    empty = np.isnan(imputer.model_.sample(4000, mean=False, seed=0).numpy()).mean(0)
    assert empty == pytest.approx(hidden.mean(0), abs=0.05)
    low, high = imputer.intervals(gaps, draws=50)
    inside = ((x >= low) & (x <= high))[hidden]
    assert 0.8 < inside.mean() < 0.98


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"gaps": "self_masking_up"}, "gaps cannot be"),
        ({"gaps": True, "likelihood": "gaussian"}, "knows nothing"),
    ],
)
def test_impossible_gaps_are_refused_at_fit(arguments, words):
    with pytest.raises(ConfigError, match=words):
        VAEImputer(**arguments).fit(correlated(60)[1])
