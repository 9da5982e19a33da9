r"""scikit-learn estimators: a VAE as density and transformer, as detector of outliers, and as imputer.

Arrays are real numbers with a density. A DataFrame goes by the schema of its columns, in which what is counted or
rounded has a probability; see ``lowerbound.data.schema``. Samples, reconstructions and completed rows are like what
came: an array, or a DataFrame with its types.

A fit begins at the factor analysis of the data, whose number of factors is the latent size unless one is given, with
a mixture of Gaussians over the factors as prior. A tenth of the rows, or of few several tenths in turn, then tells
for how many steps the networks gain, and the model that is kept takes as many steps on all rows. The order of the
rows makes no difference, and equal rows are one with their number as its weight.

Reference:
    EM algorithms for ML factor analysis (Rubin and Thayer, 1982), Psychometrika 47, 69-76;
    MIWAE: deep generative modelling and imputation of incomplete data (Mattei and Frellsen, 2019),
    https://arxiv.org/abs/1812.02633, the imputer's weights
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
import torch
from scipy.stats import qmc
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    OneToOneFeatureMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from .data import Data, DataSpec, Split
from .data.reading import Reading
from .data.rows import TensorRows
from .data.schema import decode, encode
from .data.tables import Reading as TableReading
from .data.tables import read_frame
from .defaults import TAILS, build_model, describe_model
from .errors import ConfigError, DataError, suggest
from .initialise import begin_at_factors, begin_at_mixture, factors_in
from .likelihoods import Columns, SelfMasking
from .model import VAE as Model
from .persistence import fit

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["VAE", "VAEImputer", "VAEOutlierDetector"]

_LIKELIHOODS = ("gaussian", "columns")
_HELD_OUT = 0.1
_FEWEST = 20  # rows below which none are held out
_MOST_TENTHS, _ROWS_ENOUGH = 4, 600  # tenths that are held out in turn, so many rows by one another
_STEPS, _EPOCHS = 1000, 30  # longest search: so many steps, or epochs if these are more
_COMPONENTS, _ROWS_EACH = (1, 2, 3, 5, 8), 20
_PARTS = 8  # into which a row of mean weight is cut where weights are no whole numbers
_AT_ONCE = 2**20  # numbers of the decoder's output: more are slower, for they leave the cache
_GAPS = 0.3  # share of the cells that an imputer's training empties in a copy of each row


class _Estimator(BaseEstimator):
    """What the estimators have in common.

    Args:
        latent: Number of latent dimensions; None for as many as factor analysis needs, by cross-validation.
        components: Number of Gaussians that the prior is a mixture of; None for as many as the held-out rows' density
            is highest under, among 1, 2, 3, 5 and 8, each of 20 rows or more.
        hidden: Widths of the networks' hidden layers.
        likelihood: Of an array: "gaussian", or "columns", each column brought to normal scores by its own monotone
            map; None for the one under which the held-out rows' factor analysis has the higher density. Of a
            DataFrame always "columns".
        gaps: What tells whether a cell is empty: False for nothing, True for the latent code; or the missing value
            itself, "self_masking", and where numbers are known to be missing rather where they are high,
            "self_masking_high", or "self_masking_low". Its likelihood is "columns". None for True of a DataFrame,
            False of an array, and of an imputer.
        schema: What the columns of a DataFrame mean, where the look at them is not right; see
            ``lowerbound.data.load``.
        epochs: Passes over the rows; None for as many as improve the bound of held-out rows.
        minutes: Longest time of the whole fit, beside `epochs=None`; about, for the last model takes as many steps as
            the search has found.
        batch_size: Rows per step; None for 64, and 512 at most where there are many.
        learning_rate: Of Adam.
        weight_decay: Decoupled, on weight matrices.
        dropout: Probability of dropping a hidden feature.
        samples: Importance samples of a row's log-density.
        device: Where to train: "cpu", "cuda", or "auto".
        random_state: None, a whole number, or a numpy RandomState. Global generators are neither read nor moved.

    Attributes:
        model_: The trained ``lowerbound.VAE``, in float64 and evaluation mode.
        latent_: Number of latent dimensions.
        schema_: What the columns of a DataFrame mean; None for arrays.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, where they are words.
        n_iter_: Epochs of the last model, rounded up.
        history_: The search's records of training and validation; empty if there was none.
    """

    _tolerates_gaps = False  # whether training empties cells
    _bound: Mapping[str, Any] = MappingProxyType({"objective": "elbo"})
    _gaps: bool | None = None  # what `gaps` of None stands for; of None what the data choose

    def __init__(
        self,
        latent: int | None = None,
        *,
        components: int | None = None,
        hidden: Sequence[int] = (64, 64),
        likelihood: str | None = None,
        gaps: bool | str | None = None,
        schema: Any = None,
        epochs: float | None = None,
        minutes: float | None = None,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.05,
        dropout: float = 0.2,
        samples: int = 200,
        device: str = "cpu",
        random_state: Any = None,
    ):
        self.latent = latent
        self.components = components
        self.hidden = hidden
        self.likelihood = likelihood
        self.gaps = gaps
        self.schema = schema
        self.epochs = epochs
        self.minutes = minutes
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.samples = samples
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ------------------------------------------------------------------------------------------ training
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train on all rows.

        Args:
            X: Array (N, D) or DataFrame; NaN and empty cells are missing values.
            y: Not looked at.
            sample_weight: (N,), not negative: whole numbers say how often a row stands there, others how much it
                counts beside the rest.

        Raises:
            ConfigError: an argument has an impossible value.
            DataError: there are no rows, weights do not fit them, or a column has no value.
        """
        self._check_arguments()
        x, spec = self._learn(X)
        self._seed = _seed_of(self.random_state)
        rng = np.random.default_rng(self._seed)
        x, counts = _merged(x, _weights(sample_weight, len(x)), rng)
        if len(x) < 1:
            raise DataError("all sample weights are zero; give at least one row a positive weight")
        rows = len(x)
        if self.components is not None and self.components > rows:
            raise DataError(f"components={self.components} Gaussians need as many different rows; got {rows}")
        if self._tolerates_gaps and not np.isnan(x).any():
            gaps = np.where(rng.random(x.shape) < _GAPS, np.nan, x)
            x, counts = np.concatenate([x, gaps]), np.concatenate([counts, counts])
        spec = replace(spec, missing=bool(np.isnan(x).any()))
        whole = _split(x, counts, spec)
        self.history_: list[dict[str, Any]] = []
        decided = self.gaps or spec.table is not None or self.likelihood is not None or rows < _FEWEST
        names = [self.likelihood or _LIKELIHOODS[bool(self.gaps)]] if decided else _LIKELIHOODS
        last = {name: self._started(_data(whole, whole), name, self.latent) for name in names}
        likelihood, epochs, components = names[0], self.epochs, self.components or 1
        if rows >= _FEWEST:
            # Of few rows a tenth says little, so several tenths say it together.
            most = 1 if self.minutes is not None else max(1, min(_MOST_TENTHS, _ROWS_ENOUGH // rows))
            tenths = np.array_split(rng.permutation(rows), round(1 / _HELD_OUT))[:most]
            # A row is held out together with its copy that has gaps.
            copies = np.arange(len(x)) % rows
            parts = [_held_out(x, counts, spec, np.isin(copies, held)) for held in tenths]
            started = {
                name: self._started(parts[0], name, model.latent_shape[0]) for name, model in last.items()
            }
            if len(names) > 1:
                likelihood = max(names, key=lambda name: _score(started[name], parts[0]))
            latent = last[likelihood].latent_shape[0]
            models = [started[likelihood], *(self._started(part, likelihood, latent) for part in parts[1:])]
            components = _begin_at_best_mixture(models, parts, self.components, self._seed)
            if epochs is None:
                steps = self._steps(list(zip(models, parts, strict=True)))
                epochs = steps / math.ceil(len(whole) / self._batch(len(whole)))
        model = last[likelihood]
        begin_at_mixture(model, whole, components, self._seed)
        n = self._batch(len(whole))
        epochs = epochs or 300 / math.ceil(len(whole) / n)
        self._run(model, _data(whole, whole), epochs=epochs, batch_size=n, keep="last", evaluations=1)
        self._keep(model, math.ceil(epochs))
        return self

    def _check_arguments(self) -> None:
        if self.likelihood is not None and self.likelihood not in _LIKELIHOODS:
            raise ConfigError(
                f"there is no likelihood {self.likelihood!r}; {suggest(str(self.likelihood), _LIKELIHOODS)}"
            )
        if (
            self.gaps is not None
            and not isinstance(self.gaps, bool)
            and self.gaps not in get_args(SelfMasking)
        ):
            words = (*get_args(SelfMasking), "True", "False")
            raise ConfigError(f"gaps cannot be {self.gaps!r}; {suggest(str(self.gaps), words)}")
        if self.gaps and self.likelihood == "gaussian":
            raise ConfigError("likelihood 'gaussian' knows nothing of gaps; leave it out, or gaps=")
        if self.epochs is not None and self.minutes is not None:
            raise ConfigError("a fit's length is either epochs= or minutes=; leave one out")
        for name in ("latent", "components", "batch_size", "samples"):
            value = getattr(self, name)
            needed = name == "samples"
            if (value is not None or needed) and not (
                isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
            ):
                raise ConfigError(f"{name} must be a positive whole number; got {value!r}")
        for name in ("epochs", "minutes"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and 0 < float(value) < math.inf):
                raise ConfigError(f"{name} must be a positive number, or None; got {value!r}")

    def _batch(self, rows: int) -> int:
        return int(self.batch_size or max(64, min(512, rows // 100)))

    def _steps(self, started: Sequence[tuple[Model, Data]]) -> float:
        """Return after how many steps held-out rows had their highest bound, on the mean of several curves."""
        curves: list[dict[int, float]] = []
        for model, data in started:
            batch = self._batch(len(data.train))
            length: dict[str, Any] = {"epochs": max(_EPOCHS, _STEPS * batch / len(data.train))}
            if self.minutes is not None:
                length = {"minutes": self.minutes / 2}
            run = self._run(model, data, batch_size=batch, evaluations=40, patience=8, keep="last", **length)
            self.history_ += run.history
            curves.append({r["step"]: r["bound"] for r in run.history if r["split"] == "valid"})
        common = set.intersection(*map(set, curves))
        return max(common, key=lambda step: sum(curve[step] for curve in curves), default=1)

    def _run(self, model: Model, data: Data, **settings: Any) -> Any:
        run = fit(
            model,
            data,
            progress=False,
            learning_rate=float(self.learning_rate),
            weight_decay=float(self.weight_decay),
            # Of a constant rate the averaged weights are good at any step, so the best number of them carries over.
            schedule="constant",
            ema=0.99,
            **self._bound,
            seed=self._seed,
            device=self.device,
            **settings,
        )
        if run.stopped == "interrupted":
            raise KeyboardInterrupt
        return run

    def _started(self, data: Data, likelihood: str, latent: int | None) -> Model:
        """Return a model that is the factor analysis of the training rows."""
        columns: dict[str, Any] = {"type": "columns", "tails": TAILS}
        told = self._gaps if self.gaps is None else self.gaps
        if told is not None:
            columns["gaps"] = told
        if data.spec.table is None:
            columns["parts"] = [{"missing": bool(self.gaps and gaps)} for gaps in self._empty]
        gaussian = {"type": "gaussian", "scale": "predicted"}
        slots: dict[str, Any] = {
            "likelihood": gaussian if data.spec.table is None and likelihood == "gaussian" else columns
        }
        hidden, dropout = [int(width) for width in self.hidden], float(self.dropout)
        slots["network"] = {"type": "affine_mlp", "hidden": hidden, "dropout": dropout}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed)
            model = Model.for_data(data, latent=int(latent or 1), **slots)
            if latent is None:
                model = Model.for_data(data, latent=factors_in(model, data.train), **slots)
            begin_at_factors(model, data.train)
        return model.eval()

    def _keep(self, model: Model, epochs: int) -> None:
        where = model.device if model.device.type == "cuda" else torch.device("cpu")
        # In float32 a row's numbers would depend on the rows beside it in a batch.
        self.model_ = model.to(where, torch.float64).eval()
        self.latent_ = self._n_features_out = model.latent_shape[0]
        self.n_iter_ = epochs

    # ------------------------------------------------------------------------------------------ X to x and back
    def _learn(self, X: Any) -> tuple[np.ndarray, DataSpec]:
        """Return x (N, D) of the rows to learn from, and what it is."""
        frame = _frame(X)
        if frame is None:
            X = validate_data(self, X, **self._array(), ensure_min_samples=2)
            self.schema_ = self._names = self._types = None
            with np.errstate(all="ignore"):
                empty = np.isnan(X).all(0)
                if empty.any():
                    raise DataError(f"column {int(empty.argmax())} of X has no value at all; leave it out")
                low, high = np.nanmin(X, 0), np.nanmax(X, 0)
                middle = low / 2 + high / 2
                # Where float32 would else lose the digits in which the rows differ.
                self._shift = np.where(np.abs(middle) > 100 * (high - low), middle, 0.0).astype(np.float64)
            x = X - self._shift
            self._empty = np.isnan(x).any(0)
            spec = DataSpec("array", "vector", (x.shape[1],), "real", stored="float64")
            return x.astype(np.float32), spec
        validate_data(self, X, skip_check_array=True)
        if len(frame) < 2:
            raise DataError(f"a fit needs two or more rows; got n_samples={len(frame)}")
        self._names, self._types = list(frame.columns), list(frame.dtypes)
        self._shift = None
        source = read_frame(_worded(frame), TableReading(schema=self.schema), "X")
        self.schema_ = source.table
        _say(source.notes)
        x = np.asarray(source.parts[0])
        spec = DataSpec("array", "vector", (x.shape[1],), "mixed", columns=source.columns, table=source.table)
        return x, spec

    def _array(self) -> dict[str, Any]:
        return {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan"}

    def _read(self, X: Any) -> tuple[Any, Tensor]:
        """Return X as it came, checked, and x (N, D) in float64."""
        check_is_fitted(self)
        if self.schema_ is None:
            X = validate_data(self, X, reset=False, **self._array())
            x = X - self._shift
        else:
            frame = _frame(X)
            if frame is None:
                import pandas as pd

                X = validate_data(self, X, reset=False, dtype=None, ensure_all_finite=False)
                X = frame = pd.DataFrame(X, columns=self._names)
            else:
                validate_data(self, X, reset=False, skip_check_array=True)
                X = frame
            x = encode(self.schema_, _worded(frame), "X")
        return X, torch.as_tensor(np.asarray(x, np.float64), device=self.model_.device)

    def _read_like_training(self, X: Any) -> tuple[Any, Tensor]:
        X, x = self._read(X)
        if not self.model_.missing and bool(x.isnan().any()):
            raise DataError(
                f"X has missing values (NaN), and there were none in training; {type(self).__name__} learns from "
                "rows with gaps, or VAEImputer fills them"
            )
        return X, x

    def _written(self, x: np.ndarray) -> Any:
        """Return x (N, D) like the X of training."""
        if self.schema_ is None:
            return x + self._shift
        out = decode(self.schema_, x)
        names = {
            str(name): (name, dtype) for name, dtype in zip(self._names or (), self._types or (), strict=True)
        }
        for column in out.columns:
            out[column] = _cast(out[column], names[column][1])
        return out.rename(columns={column: names[column][0] for column in out.columns})

    # ------------------------------------------------------------------------------------------ log p(x)
    def _weighted(self, x: Tensor, samples: int | None = None) -> Iterator[tuple[slice, Any, Tensor, Tensor]]:
        """Yield rows, p(x | z) at codes of q(z | x), the codes (S, B, L) and their log importance weights (S, B).

        The noise is the same for every row, evenly spread: what a row gets does not depend on the others.
        """
        model, s = self.model_, int(samples or self.samples)
        sobol = qmc.Sobol(self.latent_, rng=self._seed).random_base2(math.ceil(math.log2(s)))[:s]
        noise = torch.special.ndtri(torch.as_tensor(sobol).clamp(1e-9, 1 - 1e-9)).unsqueeze(1).to(x)
        most = max(1, _AT_ONCE // (s * math.prod(model.likelihood.input_shape)))
        for first in range(0, len(x), most):
            rows = slice(first, first + most)
            with torch.no_grad():
                view = model.at(None, len(x[rows]))
                u, log_det = view.to_model(x[rows])
                evidence = view.evidence(u)
                q = model.posterior.level(0, evidence, None, None)  # pyright: ignore[reportArgumentType]
                z = q.mean + q.stddev * noise
                draw = view.along(evidence, z)
                p_x = view.likelihood(draw.code)
                weight = view.log_likelihood(p_x, u) + log_det + draw.log_p - draw.log_q
            yield rows, (view, p_x), z, weight

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p(x) of each row in nats, (N,), by importance sampling; of missing values nothing is counted.

        It is a lower bound in expectation that rises to log p(x) with `samples`. Of the columns of a DataFrame that
        are counted or rounded it is a probability, of the others a density in their units.
        """
        _, x = self._read_like_training(X)
        found = [weight.logsumexp(0) - math.log(len(weight)) for _, _, _, weight in self._weighted(x)]
        return torch.cat(found).cpu().numpy()

    # ------------------------------------------------------------------------------------------ pickles
    def __getstate__(self) -> dict[str, Any]:
        # Numbers and words alone: arrays that any machine reads, whatever device the model was on.
        state: dict[str, Any] = {**super().__getstate__()}  # pyright: ignore
        if (model := state.pop("model_", None)) is not None:
            state["_stored"] = (
                describe_model(model),
                model.data_spec.to_dict(),
                {name: value.cpu().numpy() for name, value in model.state_dict().items()},
            )
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        stored = state.pop("_stored", None)
        super().__setstate__(state)
        if stored is not None:
            described, spec, weights = stored
            with torch.random.fork_rng(devices=[]):
                model = build_model(described, described["latent"], DataSpec.from_dict(spec))
            model.double().load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
            self.model_ = model.eval()


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, _Estimator):
    """Density, latent codes and samples of a table.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> X = load_wine(return_X_y=True)[0]
        >>> vae = VAE(latent=2, epochs=5, random_state=0).fit(X)
        >>> vae.transform(X).shape, vae.score_samples(X).shape, vae.sample(3).shape
        ((178, 2), (178,), (3, 13))
    """

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean of log p(x) over the rows, in nats."""
        scores = self.score_samples(X)
        return float(
            np.average(
                scores, weights=None if sample_weight is None else _weights(sample_weight, len(scores))
            )
        )

    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of the rows, the means of q(z | x), (N, latent)."""
        X, x = self._read_like_training(X)
        z = self.model_.encode(x).cpu().numpy()
        return z.astype(X.dtype) if isinstance(X, np.ndarray) and X.dtype == np.float32 else z

    def inverse_transform(self, Z: Any) -> Any:
        """Return what codes (N, latent) stand for, like the X of training: means, or of tables medians and modes."""
        check_is_fitted(self)
        Z = np.asarray(Z, np.float64)
        if Z.ndim != 2 or Z.shape[1] != self.latent_:
            raise DataError(f"codes have the shape (N, {self.latent_}); got {Z.shape}")
        return self._written(self.model_.decode(torch.as_tensor(Z)).cpu().numpy())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw new rows, like the X of training.

        Args:
            n_samples: How many.
            random_state: None for the estimator's own, as which it is used.
        """
        check_is_fitted(self)
        seed = _seed_of(self.random_state if random_state is None else random_state)
        return self._written(self.model_.sample(int(n_samples), mean=False, seed=seed).cpu().numpy())

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Go on training with new rows from where the model stands: `epochs` passes over them, one if that is None.

        The first call is a fit, which says what the columns are from then on. What earlier rows said is not repeated:
        rows that differ from them in kind are learned at their expense.
        """
        if not hasattr(self, "model_"):
            return self.fit(X, y, sample_weight)
        self._check_arguments()
        _, x = self._read_like_training(X)
        rng = np.random.default_rng(self._seed)
        rows, counts = _merged(x.cpu().numpy().astype(np.float32), _weights(sample_weight, len(x)), rng)
        split = _split(rows, counts, self.model_.data_spec)
        model, epochs = self.model_.float(), self.epochs or 1
        self._run(
            model,
            _data(split, split),
            epochs=epochs,
            batch_size=self._batch(len(split)),
            keep="last",
            evaluations=1,
        )
        self._keep(model, self.n_iter_ + math.ceil(epochs))
        return self


class VAEOutlierDetector(OutlierMixin, _Estimator):
    """Outliers as rows of low density.

    Args:
        contamination: Share of the rows of training that are outliers, in (0, 0.5]; it sets the threshold.

    Attributes:
        offset_: Log-density below which a row is an outlier.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> X = load_wine(return_X_y=True)[0]
        >>> found = VAEOutlierDetector(latent=2, epochs=5, contamination=0.1, random_state=0).fit_predict(X)
        >>> int((found == -1).sum())
        18
    """

    def __init__(
        self,
        latent: int | None = None,
        *,
        contamination: float = 0.1,
        hidden: Sequence[int] = (64, 64),
        likelihood: str | None = None,
        gaps: bool | str | None = None,
        schema: Any = None,
        epochs: float | None = None,
        minutes: float | None = None,
        batch_size: int | None = None,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.05,
        dropout: float = 0.2,
        samples: int = 200,
        device: str = "cpu",
        random_state: Any = None,
    ):
        super().__init__(
            latent,
            hidden=hidden,
            likelihood=likelihood,
            gaps=gaps,
            schema=schema,
            epochs=epochs,
            minutes=minutes,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            dropout=dropout,
            samples=samples,
            device=device,
            random_state=random_state,
        )
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train on all rows, and set the threshold by them; see ``VAE.fit``."""
        if not (isinstance(self.contamination, Real) and 0 < float(self.contamination) <= 0.5):
            raise ConfigError(f"contamination must lie in (0, 0.5]; got {self.contamination!r}")
        super().fit(X, y, sample_weight)
        scores = self.score_samples(X)
        weights = _weights(sample_weight, len(scores))
        order = np.flatnonzero(weights > 0)
        order = order[scores[order].argsort()]
        scores, below = scores[order], weights[order].cumsum()
        # Equal rows fall on one side, and the threshold halfway between the last outlier and the first inlier.
        last = np.append(np.diff(scores) > 1e-9 * (1 + np.abs(scores[:-1])), True)
        scores, below = scores[last], below[last]
        k = int(np.searchsorted(below, self.contamination * below[-1] * (1 + 1e-12), side="right"))
        self.offset_ = float(scores[max(k - 1, 0) : k + 1].mean()) if k else float(scores[0])
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return log p(x) less the threshold, (N,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for inliers and -1 for outliers, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)


class VAEImputer(OneToOneFeatureMixin, TransformerMixin, _Estimator):
    """Missing values, filled by what p(x_missing | x_observed) says of them.

    Cells that are there stay as they are. Where the rows of training have no gaps, the model learns of some that are
    made at random.

    Example:
        >>> import numpy as np
        >>> from sklearn.datasets import load_wine
        >>> X = load_wine(return_X_y=True)[0]
        >>> X[::3, 0] = np.nan
        >>> filled = VAEImputer(latent=2, epochs=5, random_state=0).fit_transform(X)
        >>> bool(np.isfinite(filled).all()), bool((filled[1] == X[1]).all())
        (True, True)
    """

    _tolerates_gaps = True
    # By the evidence lower bound codes leave out what columns say of each other where that costs as much as it gains.
    _bound = MappingProxyType(
        {
            "objective": {"type": "importance_weighted", "samples": 8, "gradient": "dreg"},
            "validation_samples": 20,
        }
    )
    # If codes told of gaps, those of rows with one would lie apart, where nothing says what the cell may hold.
    _gaps = False

    @torch.no_grad()
    def transform(self, X: Any) -> Any:
        """Return X with the mean of each missing number, and the most probable of each missing category."""
        X, x = self._read(X)
        filled = x.clone()
        for rows, (view, p_x), _, weight in self._weighted(x):
            w = weight.softmax(0)
            family = view.model.likelihood
            p_x = family.given_gaps(p_x, x[rows].isnan())
            if isinstance(family, Columns):
                mean = (w.unsqueeze(-1) * p_x.mean).sum(0)
                chances = (w.unsqueeze(-1) * p_x.chances.exp()).sum(0)
                mean[:, family.choices] = family.chosen(chances).to(mean)
            else:
                mean = view.to_data((w.unsqueeze(-1) * p_x.mean).sum(0))
            filled[rows] = torch.where(x[rows].isnan(), mean, x[rows])
        return self._filled(X, filled)

    def draw(self, X: Any, n: int = 5, random_state: Any = None) -> list[Any]:
        """Return X filled `n` times by draws of p(x_missing | x_observed): multiple imputations.

        Args:
            X: The rows.
            n: How many.
            random_state: None for the estimator's own.
        """
        X, x = self._read(X)
        return [self._filled(X, part) for part in self._drawn(x, int(n), random_state)]

    def intervals(
        self, X: Any, level: float = 0.9, draws: int = 200, random_state: Any = None
    ) -> tuple[Any, Any]:
        """Return X filled with the lower, and with the upper end of each missing number's central interval.

        Of a missing category, of which no interval is known, both are empty.

        Args:
            X: The rows.
            level: Probability of the interval.
            draws: Draws of which it is taken.
            random_state: None for the estimator's own.
        """
        if not 0 < level < 1:
            raise ConfigError(f"level must lie in (0, 1); got {level!r}")
        X, x = self._read(X)
        drawn = self._drawn(x, int(draws), random_state)
        ends = torch.quantile(drawn, drawn.new_tensor([(1 - level) / 2, (1 + level) / 2]), dim=0)
        family = self.model_.likelihood
        if isinstance(family, Columns) and family.choices:
            # NaN stays where a category is missing.
            ends[..., family.choices] = x[:, family.choices]
        low, high = (self._filled(X, end) for end in ends)
        return low, high

    def _drawn(self, x: Tensor, n: int, random_state: Any) -> Tensor:
        """Return x filled by draws, (n, N, D): codes by their weights, then cells given the code."""
        if n < 1:
            raise ConfigError(f"ask for one draw or more; got {n}")
        seed = _seed_of(self.random_state if random_state is None else random_state)
        out = x.expand(n, *x.shape).clone()
        with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
            torch.manual_seed(seed)
            for rows, (view, _), z, weight in self._weighted(x):
                chosen = torch.multinomial(weight.softmax(0).T, n, replacement=True).T
                codes = z[chosen, torch.arange(z.shape[1], device=z.device)]
                with torch.no_grad():
                    family = view.model.likelihood
                    p_x = family.given_gaps(view.decoded(codes), x[rows].isnan())
                    drawn = view.to_data(family.values(p_x))
                out[:, rows] = torch.where(x[rows].isnan(), drawn, x[rows])
        return out

    def _filled(self, X: Any, x: Tensor) -> Any:
        """Return X with its empty cells taken from x (N, D)."""
        made = self._written(x.cpu().numpy())
        if isinstance(X, np.ndarray):
            return np.where(np.isnan(X), made, X).astype(X.dtype)
        out = X.copy()
        for name in made.columns:
            gaps = out[name].isna().to_numpy()
            if gaps.any():
                filled = made[name].set_axis(out.index)
                whole = filled.where(gaps, out[name].astype(filled.dtype, errors="ignore"))
                out[name] = _cast(whole, X[name].dtype)
        return out


# ---------------------------------------------------------------------------------------- rows and weights
def _seed_of(random_state: Any) -> int:
    """Return a seed; of None a fresh one, so that numpy's global generator stays where it is."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def _weights(given: Any, rows: int) -> np.ndarray:
    """Return weights (N,), ones if none are given.

    Raises:
        DataError: they are not one finite number >= 0 for each row.
    """
    if given is None:
        return np.ones(rows)
    weights = np.asarray(given, np.float64)
    weights = np.full(rows, weights) if weights.ndim == 0 else weights
    if weights.shape != (rows,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(
            f"sample_weight must be {rows} finite numbers >= 0, one for each row; got {weights.shape}"
        )
    return weights


def _merged(x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the different rows that have a weight, in an order of their own, and how often each is to stand there.

    Weights that are no whole numbers are rounded to multiples of an eighth of their mean, up or down at random, so
    that each is right in expectation.
    """
    x, weights = x[weights > 0], weights[weights > 0]
    if not len(x):
        return x, weights.astype(np.int64)
    order = np.lexsort(x.T[::-1])
    x, weights = x[order], weights[order]
    same = ((x[1:] == x[:-1]) | (np.isnan(x[1:]) & np.isnan(x[:-1]))).all(1)
    first = np.concatenate([[0], np.flatnonzero(~same) + 1])
    x, weights = x[first], np.add.reduceat(weights, first)
    if (weights == np.floor(weights)).all() and weights.max() < 2**53:
        counts = weights.astype(np.int64)
    else:
        ends = (weights * (_PARTS / weights.mean())).cumsum()
        counts = np.diff(np.floor(ends + rng.random()), prepend=0).astype(np.int64)
        x, counts = x[counts > 0], counts[counts > 0]
    return x, counts // np.gcd.reduce(counts)


def _split(x: np.ndarray, counts: np.ndarray, spec: DataSpec) -> Split:
    repeated = torch.from_numpy(np.repeat(x, counts, 0))
    return Split("train", spec, TensorRows(repeated), Reading("floats"))


def _held_out(x: np.ndarray, counts: np.ndarray, spec: DataSpec, held: np.ndarray) -> Data:
    """Return the rows that are not held out (N,) as the training split, the others as validation."""
    return _data(_split(x[~held], counts[~held], spec), _split(x[held], counts[held], spec))


def _data(train: Split, valid: Split) -> Data:
    return Data(train, valid, valid, options={}, whole=train is valid)


# ---------------------------------------------------------------------------------------- tables
def _frame(X: Any) -> DataFrame | None:
    """Return X as a pandas DataFrame if it is a table, of pandas or with ``to_pandas``.

    Plain numbers in columns without a name are an array in another dress, of which the same is learned.
    """
    if hasattr(X, "to_pandas"):
        X = X.to_pandas()
    if not (hasattr(X, "iloc") and hasattr(X, "dtypes") and getattr(X, "ndim", 0) == 2):
        return None
    named = any(isinstance(name, str) for name in X.columns)
    return X if named or any(getattr(dtype, "kind", "O") not in "iuf" for dtype in X.dtypes) else None


def _worded(frame: DataFrame) -> DataFrame:
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _cast(column: Any, dtype: Any) -> Any:
    """Return a column in the type that it had, if its values have one in it."""
    try:
        return column.astype(dtype)
    except (TypeError, ValueError):
        return column


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        warnings.warn(note, stacklevel=5)


# ---------------------------------------------------------------------------------------- mixtures
def _begin_at_best_mixture(
    models: Sequence[Model], parts: Sequence[Data], components: int | None, seed: int
) -> int:
    """Let the priors be mixtures of as many Gaussians, and return it, as give held-out rows the highest density."""
    fewest = min(len(part.train) for part in parts)
    counts = [components] if components else [n for n in _COMPONENTS if n == 1 or n * _ROWS_EACH <= fewest]
    scores, priors = {}, {}
    for count in counts:
        for model, part in zip(models, parts, strict=True):
            begin_at_mixture(model, part.train, count, seed)
        scores[count] = sum(map(_score, models, parts)) if len(counts) > 1 else 0.0
        priors[count] = [model.prior for model in models]
    best = max(counts, key=scores.__getitem__)
    for model, prior in zip(models, priors[best], strict=True):
        model.prior = prior
    return best


def _score(model: Model, data: Data) -> float:
    """Return the mean log-density of the rows that are held out."""
    x, _ = data.valid.batch(torch.arange(len(data.valid)))
    return float(model.log_prob(x, samples=20, seed=0).mean())
