"""Every slot keeps the contract of its kind; and each contract notices a slot that breaks it."""

import inspect
import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from lowerbound import posteriors, priors
from lowerbound.conditions import Image, Label, Map, Observed, PointSet, Vector
from lowerbound.distributions import OneHot
from lowerbound.likelihoods import (
    Bernoulli,
    Beta,
    Categorical,
    CensoredGaussian,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gamma,
    Gaussian,
    Laplace,
    LogCosh,
    LogNormal,
    Multinomial,
    NegativeBinomial,
    Ordinal,
    Poisson,
    StudentT,
    VonMises,
)
from lowerbound.objectives import (
    DIP,
    ELBO,
    VAEGAN,
    Adversarial,
    Capacity,
    Combined,
    Cosine,
    DeepFeatures,
    FactorVAE,
    FeatureDistance,
    ImportanceWeighted,
    InfoVAE,
    Linear,
    MultiplyWeighted,
    ObjectiveOutput,
    Regularised,
    Renyi,
    Switch,
    TotalCorrelation,
    Wasserstein,
)
from lowerbound.posteriors import (
    IAF,
    CellGaussian,
    Coupling,
    DiagonalGaussian,
    FiniteScalar,
    FullCovarianceGaussian,
    GumbelSoftmax,
    LowRankGaussian,
    Planar,
    Posterior,
    Sylvester,
    VectorQuantised,
    VonMisesFisher,
)
from lowerbound.priors import (
    MAF,
    NSF,
    CellPrior,
    Codebook,
    ConditionalGaussian,
    Flow,
    GaussianMixture,
    Lattice,
    Sphere,
    StandardNormal,
    VampPrior,
)
from lowerbound.registry import REGISTRY
from lowerbound.slots import Part
from lowerbound.testing import (
    check_condition,
    check_likelihood,
    check_objective,
    check_posterior,
    check_prior,
)

NOT_REAL = (math.nan, math.inf, -math.inf)

# Whether a part is there is a number of h: of these shapes, random ones do not lack all parts.
TWO_PARTS = [Part("a", (2,), (4,), (1, 2)), Part("b", (1,), (2,), (1, 1))]
SMALL_IMAGE = (1, 6, 4)
POSTERIORS = {
    "diagonal_gaussian": lambda: DiagonalGaussian(3),
    "diagonal_gaussian_one": lambda: DiagonalGaussian(1),
    "diagonal_gaussian_map": lambda: DiagonalGaussian((2, 1, 2)),
    "full_covariance_gaussian": lambda: FullCovarianceGaussian(3),
    "full_covariance_gaussian_one": lambda: FullCovarianceGaussian(1),
    "cell_gaussian": lambda: CellGaussian(7, cells=4),
    "cell_gaussian_one": lambda: CellGaussian(2, cells=1),
    "von_mises_fisher": lambda: VonMisesFisher(3),
    "von_mises_fisher_circle": lambda: VonMisesFisher(2),
    "von_mises_fisher_many": lambda: VonMisesFisher(12),
    "low_rank_gaussian": lambda: LowRankGaussian(3),
    "low_rank_gaussian_one": lambda: LowRankGaussian(2, rank=1),
    "student_t": lambda: posteriors.StudentT(3),
    "student_t_map": lambda: posteriors.StudentT((2, 1, 2), df=9),
    "iaf": lambda: IAF(3, hidden=(8,), features=4),
    "coupling": lambda: Coupling(3, transforms=2, hidden=(8,), features=4),
    "sylvester": lambda: Sylvester(3, transforms=2),
    "sylvester_full": lambda: Sylvester(2, transforms=2, columns=2),
    "planar": lambda: Planar(3, transforms=3),
    "planar_one": lambda: Planar(1, transforms=2),
    "vq": lambda: VectorQuantised(4),
    "vq_residual": lambda: VectorQuantised(8, depth=2),
    "vq_rotation": lambda: VectorQuantised(4, gradient="rotation"),
    "gumbel_vq": lambda: posteriors.GumbelQuantised(4),
    "gumbel_vq_residual": lambda: posteriors.GumbelQuantised(8, depth=2, drop=0.3, norm=0.5),
    "fsq": lambda: FiniteScalar(8),
    "gumbel_softmax": lambda: GumbelSoftmax(20),
    "gumbel_softmax_relaxed": lambda: GumbelSoftmax(10, hard=False),
    "poincare": lambda: posteriors.Poincare(2),
    "poincare_three": lambda: posteriors.Poincare(3, curvature=1.0),
    "experts": lambda: posteriors.Experts(3, TWO_PARTS),
    "experts_mixture": lambda: posteriors.Experts(2, TWO_PARTS, "moe", stratified=False),
    "experts_products": lambda: posteriors.Experts(3, TWO_PARTS, "mopoe", stratified=False),
    "gamma": lambda: posteriors.Gamma(2),
    "gamma_map": lambda: posteriors.Gamma((2, 1)),
    "hamiltonian": lambda: posteriors.Hamiltonian(2, step_size=0.4),
    "product": lambda: posteriors.Product(
        9, {"a": DiagonalGaussian(2), "b": GumbelSoftmax(6, categories=3), "c": IAF(1, features=2)}
    ),
    "product_levels": lambda: posteriors.Product(
        6, {"a": VectorQuantised(4, depth=2), "b": DiagonalGaussian((1, 2))}
    ),
    "hamiltonian_one_step": lambda: posteriors.Hamiltonian(4, steps=1, step_size=0.2, tempering=1.0),
    "riemannian": lambda: posteriors.Riemannian(4, step_size=0.02, centroids=7),
    "riemannian_one": lambda: posteriors.Riemannian(2, steps=1, step_size=0.02, tempering=1.0, centroids=3),
    "ladder": lambda: posteriors.Ladder(5, sizes=[2, 3], hidden=(6,), features=4),
    "ladder_three": lambda: posteriors.Ladder(6, sizes=3, hidden=(7, 6), features=4),
    "ladder_affine": lambda: posteriors.Ladder(4, hidden=(), features=3),
    "ladder_precision": lambda: posteriors.Ladder(4, hidden=(6,), features=4, merge="precision"),
    "two_stage": lambda: posteriors.TwoStage(5, second=2, hidden=(6,)),
    "two_stage_low_rank": lambda: posteriors.TwoStage(
        5, second=1, hidden=(), first={"type": "low_rank_gaussian", "rank": 1}
    ),
    "conv_ladder": lambda: posteriors.ConvLadder(
        8, SMALL_IMAGE, scales=[1, 1], channels=4, width=1, blocks=1
    ),
    "conv_ladder_one_scale": lambda: posteriors.ConvLadder(24, SMALL_IMAGE, scales=[2], channels=4, width=2),
    "vq_map": lambda: VectorQuantised(12, stride=2, data_shape=SMALL_IMAGE),
    "vq_map_residual": lambda: VectorQuantised(24, depth=2, stride=2, data_shape=SMALL_IMAGE),
    "fsq_map": lambda: FiniteScalar(24, stride=2, data_shape=SMALL_IMAGE),
}
PRIORS = {
    "standard_normal": lambda: StandardNormal(3),
    "standard_normal_map": lambda: StandardNormal((2, 1, 2)),
    "conditional_gaussian": lambda: ConditionalGaussian(3, context=4),
    "conditional_gaussian_affine": lambda: ConditionalGaussian(1, context=1, hidden=()),
    "conditional_gaussian_map": lambda: ConditionalGaussian((2, 1, 2), context=3, hidden=(5, 5)),
    "flow": lambda: Flow(5, couplings=3, hidden=(6,)),
    "flow_context": lambda: Flow(2, context=3, couplings=2, hidden=()),
    "flow_map": lambda: Flow((2, 1, 2), context=1, couplings=1, hidden=(4, 4)),
    "cell": lambda: CellPrior(5, cells=3),
    "cell_context": lambda: CellPrior(7, cells=4, context=3),
    "cell_affine": lambda: CellPrior(3, cells=2, hidden=(), context=1),
    "cell_map": lambda: CellPrior(8, cells=6, hidden=(5,), map_shape=(2, 3, 2), context=12),
    "cell_map_beside": lambda: CellPrior(7, cells=6, hidden=(5, 5), map_shape=(2, 2, 3), context=15),
    "gaussian_mixture": lambda: GaussianMixture(3, components=2),
    "gaussian_mixture_one": lambda: GaussianMixture(2, components=1),
    "gaussian_mixture_context": lambda: GaussianMixture(2, components=3, hidden=(5,), context=4),
    "gaussian_mixture_map": lambda: GaussianMixture((2, 1, 2), components=2, hidden=(), context=1),
    "vamp": lambda: VampPrior(2, (2, 2), components=3),
    "vamp_weighted": lambda: VampPrior(2, (2, 2), components=4, weighted=True),
    "maf": lambda: MAF(3, transforms=2, hidden=(8,)),
    "maf_context": lambda: MAF(2, transforms=1, hidden=(8,), context=3),
    "nsf": lambda: NSF(2, transforms=1, hidden=(8,), bins=4),
    "nsf_context": lambda: NSF(2, transforms=2, hidden=(8,), bins=3, context=2),
    "sphere": lambda: Sphere(3),
    "sphere_circle": lambda: Sphere(2),
    "codebook": lambda: Codebook(4, codes=5),
    "codebook_gradient": lambda: Codebook(6, codes=5, width=3, learning="gradient"),
    "codebook_residual": lambda: Codebook(8, codes=5, depth=2),
    "codebook_order": lambda: Codebook(6, codes=4, order=5),
    "codebook_order_context": lambda: Codebook(8, codes=4, depth=2, order=5, context=3),
    "codebook_order_residual": lambda: Codebook(8, codes=4, depth=2, order=5),
    "lattice": lambda: Lattice(4),
    "lattice_order": lambda: Lattice(6, steps=(3, 2), order=4),
    "categorical": lambda: priors.Categorical(6, categories=3),
    "categorical_context": lambda: priors.Categorical(4, categories=2, hidden=(), context=3),
    "poincare": lambda: priors.Poincare(2),
    "poincare_context": lambda: priors.Poincare(2, curvature=0.7, hidden=(5,), context=3),
    "product": lambda: priors.Product(6, {"a": GaussianMixture(3), "b": priors.Categorical(3, categories=3)}),
    "product_context": lambda: priors.Product(
        7,
        {"a": Codebook(4, codes=3, depth=2, order=3, context=2), "b": ConditionalGaussian((3, 1), context=2)},
    ),
    "product_vamp": lambda: priors.Product(
        3, {"a": VampPrior(2, (2, 2), components=3), "b": StandardNormal(1)}
    ),
    "gamma": lambda: priors.Gamma(2, shape=3.0, rate=0.5),
    "momentum": lambda: priors.Momentum(4),
    "momentum_context": lambda: priors.Momentum(2, hidden=(5,), context=3),
    "ladder": lambda: priors.Ladder(5, sizes=[2, 3], hidden=(6,)),
    "ladder_affine_context": lambda: priors.Ladder(4, hidden=(), context=3),
    "ladder_flow_context": lambda: priors.Ladder(
        6, sizes=3, hidden=(7, 6), context=2, top={"type": "flow", "couplings": 1, "hidden": [5]}
    ),
    "ladder_vamp": lambda: priors.Ladder(4, (2, 2), hidden=(5,), top={"type": "vamp", "components": 3}),
    "two_stage": lambda: priors.TwoStage(5, second=2, hidden=(6,)),
    "two_stage_context": lambda: priors.TwoStage(5, second=3, hidden=(), context=3),
    "conv_ladder": lambda: priors.ConvLadder(8, SMALL_IMAGE, scales=[1, 1], channels=4, width=1),
    "conv_ladder_context": lambda: priors.ConvLadder(
        24, SMALL_IMAGE, context=3, scales=[2], channels=4, width=2
    ),
    "codebook_map": lambda: Codebook(12, codes=5, stride=2, order=6, data_shape=SMALL_IMAGE),
    "codebook_map_context": lambda: Codebook(
        24, codes=4, depth=2, stride=2, order=6, context=3, data_shape=SMALL_IMAGE
    ),
    "lattice_map": lambda: Lattice(12, steps=(3, 2), stride=2, order=6, data_shape=SMALL_IMAGE),
}


def numbers(*shape):
    return lambda n: torch.randn(n, *shape).double()


def labels(classes):
    return lambda n: torch.randint(classes, (n,))


def observed(*event):
    def values(n):
        mask = (torch.rand(n, *event) < 0.5).double()
        return torch.stack([mask * torch.randn(n, *event).double(), mask], 1)

    return values


CONDITIONS = {
    "label": (lambda: Label(10), labels(10)),
    "label_names": (lambda: Label(("cat", "dog", "eel"), size=2, missing=True), labels(3)),
    "label_dropout": (lambda: Label(100, dropout=0.3), labels(100)),
    "vector": (lambda: Vector(3), numbers(3)),
    "vector_number": (lambda: Vector(1, dropout=0.5), numbers(1)),
    "vector_network": (lambda: Vector(3, hidden=(8, 4), missing=True), numbers(3)),
    "image": (lambda: Image((2, 4, 3), size=5, hidden=(8,)), numbers(2, 4, 3)),
    "image_conv": (
        lambda: Image((1, 8, 6), network="conv", channels=(4,), hidden=(8,), dropout=0.2),
        numbers(1, 8, 6),
    ),
    "image_resnet": (
        lambda: Image((1, 4, 4), network="resnet", channels=(4,), hidden=(8,), missing=True),
        numbers(1, 4, 4),
    ),
    "map": (lambda: Map((2, 8, 6), features=3, channels=(4,), blocks=2), numbers(2, 8, 6)),
    "map_odd": (lambda: Map((1, 7, 5), channels=(4, 5), blocks=0, dropout=0.3), numbers(1, 7, 5)),
    "set": (lambda: PointSet((4, 3), size=5, hidden=(8,)), numbers(4, 3)),
    "set_missing": (lambda: PointSet((1, 2), size=5, hidden=(8, 6), missing=True), numbers(1, 2)),
    "set_dropout": (lambda: PointSet((3, 1), size=2, hidden=(4,), dropout=0.2), numbers(3, 1)),
    "observed": (lambda: Observed(5, size=6, hidden=(8,)), observed(5)),
    "observed_image": (
        lambda: Observed((1, 4, 3), network="conv", channels=(4,), hidden=(8,)),
        observed(1, 4, 3),
    ),
}


def _narrow(family, second):
    """A family of two parameters near (0, ``second``), where trapezoids and fourth moments are tame."""

    class Narrow(family):
        def forward(self, h):
            axis = -1 - len(self.event_shape)
            first, more = h.unbind(axis)
            return super().forward(torch.stack([first / 4, second + more / 4], axis))

    return Narrow


LIKELIHOODS = {
    "bernoulli": (Bernoulli, (*NOT_REAL, 0.5, -1.0, 2.0, 255.0)),
    "continuous_bernoulli": (ContinuousBernoulli, (*NOT_REAL, -0.01, 1.01, 255.0)),
    "categorical": (lambda shape: Categorical(shape, categories=4), (*NOT_REAL, -1.0, 4.0, 1.5)),
    **{
        name: (lambda shape, build=build: build(shape), (*NOT_REAL, -1.0, 0.5))
        for name, build in {
            "poisson": Poisson,
            "poisson_zero_inflated": lambda shape: Poisson(shape, library="none", zero_inflated=True),
            "negative_binomial": NegativeBinomial,
            "negative_binomial_condition": lambda shape: NegativeBinomial(
                shape, "none", "condition", context=2
            ),
            "negative_binomial_predicted": lambda shape: NegativeBinomial(shape, "none", "predicted"),
            "negative_binomial_zero_inflated": lambda shape: NegativeBinomial(
                shape, "none", zero_inflated=True
            ),
            "multinomial": Multinomial,
            "multinomial_modelled": lambda shape: Multinomial(shape, "modelled"),
            "multinomial_varying": lambda shape: Multinomial(shape, "modelled", "learned"),
        }.items()
    },
    **{
        f"gaussian_{scale}": (lambda shape, scale=scale: Gaussian(shape, scale=scale), NOT_REAL)
        for scale in (0.3, 1, "learned", "per_dimension", "predicted", "optimal")
    },
    **{
        f"laplace_{scale}": (lambda shape, scale=scale: Laplace(shape, scale=scale), NOT_REAL)
        for scale in (0.3, "learned", "per_dimension", "predicted")
    },
    "student_t": (lambda shape: StudentT(shape, "predicted", df=9), NOT_REAL),
    "student_t_learned": (StudentT, NOT_REAL),
    "log_cosh": (lambda shape: LogCosh(shape, "predicted"), NOT_REAL),
    "log_cosh_power": (lambda shape: LogCosh(shape, 0.5, power=3), NOT_REAL),
    "discretised_logistic": (
        lambda shape: DiscretisedLogistic(shape, levels=5),
        (*NOT_REAL, 0.3, -0.25, 1.25),
    ),
    "discretised_logistic_mixture": (
        lambda shape: DiscretisedLogistic(shape, levels=7, components=3),
        (*NOT_REAL, 0.3),
    ),
    "beta": (_narrow(Beta, 2.0), (*NOT_REAL, -0.01, 1.01)),
    "log_normal": (_narrow(LogNormal, -1.5), (*NOT_REAL, 0.0, -1.0)),
    "gamma": (_narrow(Gamma, 2.0), (*NOT_REAL, 0.0, -1.0)),
    "von_mises": (VonMises, (*NOT_REAL, 3.2, -3.2)),
    "ordinal": (lambda shape: Ordinal(shape, categories=5), (*NOT_REAL, -1.0, 5.0, 1.5)),
    "ordinal_two": (lambda shape: Ordinal(shape, categories=2), (*NOT_REAL, 2.0)),
    "censored_gaussian": (
        lambda shape: CensoredGaussian(shape, limit=0.4, scale="predicted"),
        (*NOT_REAL, 0.5),
    ),
}
OBJECTIVES = {
    "elbo": ELBO,
    "elbo_sampled": lambda: ELBO(samples=3, analytic_kl=False),
    "elbo_warm_up": lambda: ELBO(beta=Linear(0.1, 1.0, 5, "steps")),
    "beta_free_bits": lambda: ELBO(beta=Cosine(4.0, 2.0), free_bits=0.05),
    "importance_weighted": ImportanceWeighted,
    "sticking_the_landing": lambda: ImportanceWeighted(samples=1, gradient="stl"),
    "doubly_reparameterised": lambda: ImportanceWeighted(samples=4, gradient="dreg"),
    "capacity": lambda: Capacity(Linear(0.0, 5.0, 5, "steps"), gamma=10.0),
    "total_correlation": TotalCorrelation,
    "total_correlation_mws": lambda: TotalCorrelation(2.0, 4.0, 0.5, aggregate="mws"),
    "factor_vae": lambda: FactorVAE(hidden=(16,)),
    "dip_i": lambda: DIP("i", 3.0, 30.0),
    "dip_ii": DIP,
    "info_vae": InfoVAE,
    "info_vae_sliced": lambda: InfoVAE(0.9, 5.0, distance="sliced_wasserstein"),
    "wasserstein_mmd": Wasserstein,
    "wasserstein_sliced": lambda: Wasserstein(distance="sliced_wasserstein"),
    "multiply_weighted": lambda: MultiplyWeighted(2, 3),
    "partially_weighted": lambda: MultiplyWeighted(2, 3, decoder="all"),
    "combined": Combined,
    "renyi": Renyi,
    "regularised": Regularised,
    "regularised_gradient": lambda: Regularised(0.1, "gradient", 0.1),
    "adversarial": lambda: Adversarial(hidden=(8,)),
    "vae_gan": lambda: VAEGAN(features=8),
    "deep_features": lambda: DeepFeatures(features="random", channels=(4, 5)),
    "feature_distance": lambda: FeatureDistance(nn.Linear(3, 2).double()),
    "switch": lambda: Switch(ELBO(), ImportanceWeighted(samples=2), at=0.7),
}


def every(table):
    return pytest.mark.parametrize("build", table.values(), ids=table)


def partner(posterior):
    """A prior that the posterior goes with."""
    cls = REGISTRY["prior"][posterior.partners.get("prior", "standard_normal")]
    wanted = {*cls.derived, *posterior.agree} & {*inspect.signature(cls).parameters}
    agreed = {name: getattr(posterior, name) for name in wanted if hasattr(posterior, name)}
    if isinstance(posterior, posteriors.Product):
        agreed["blocks"] = {name: partner(block) for name, block in posterior.blocks.items()}
    return cls(posterior.event_shape, **agreed)


@every(POSTERIORS)
def test_posterior(build, device):
    posterior = build()
    check_posterior(build, prior=lambda: partner(posterior), device=device)


def _encode(u):
    """q(z | u) of pseudo-inputs (K, 2, 2)."""
    flat = u.flatten(-2)
    return Independent(Normal(flat[..., :2], 0.5 + flat[..., 2:].sigmoid(), validate_args=False), 1)


@every(PRIORS)
def test_prior(build, device):
    check_prior(build, encode=_encode, device=device)


@every(CONDITIONS)
def test_condition(build, device):
    make, values = build
    check_condition(make, values, device=device)


def test_every_registered_kind_of_condition_is_checked():
    assert {type(make()) for make, _ in CONDITIONS.values()} == set(REGISTRY["condition"].values())


@every(LIKELIHOODS)
def test_likelihood(build, device):
    make, outside = build
    check_likelihood(make, outside=outside, device=device)


@every(OBJECTIVES)
def test_objective(build):
    check_objective(build)


# ------------------------------------------------------- the contracts see what they are meant to see
class _Shifted(Independent):
    """A density off by a constant."""

    def log_prob(self, value):
        return super().log_prob(value) + 0.1


class _Wide(Independent):
    """Draws at another scale than the density's."""

    def rsample(self, sample_shape=()):
        z = super().rsample(sample_shape)
        return self.mean + 1.1 * (z - self.mean)

    def sample(self, sample_shape=()):
        return self.rsample(sample_shape).detach()


class _Broken(Posterior):
    """A diagonal Gaussian with one fault of choice; ``kind`` names it."""

    def __init__(self, kind):
        super().__init__(2, (2, 2))
        self.kind = kind
        if kind == "unused parameter":
            self.weight = nn.Parameter(torch.ones(()))

    def forward(self, h=None):
        loc, raw = torch.zeros(2, 2).double() if h is None else h.unbind(-2)
        if self.kind == "detached":
            loc, raw = loc.detach(), raw.detach()
        if self.kind == "half":
            return Independent(Normal(loc, raw.exp(), validate_args=False), 1, validate_args=False)
        loc, raw = (loc.float(), raw.float()) if loc.dtype == torch.bfloat16 else (loc, raw)
        wrapper = {"constant": _Shifted, "scale": _Wide}.get(self.kind, Independent)
        summed = 0 if self.kind == "not summed" else 1
        return wrapper(Normal(loc, raw.exp(), validate_args=False), summed, validate_args=False)

    def extra_repr(self):
        return "" if self.kind == "silent" else f"kind={self.kind!r}"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("constant", "density integrates to 1.1"),
        ("scale", "do not follow its log_prob: moment 2"),
        ("detached", "no gradient reaches h"),
        ("unused parameter", "no gradient reaches weight"),
        ("half", "must give float32 densities"),
        ("not summed", "batch shape must be"),
        ("silent", "the repr must show the argument 'kind'"),
    ],
)
def test_posterior_contract_notices(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_posterior(lambda: _Broken(kind))


class _BrokenCells(CellGaussian):
    """Cells with one fault of choice."""

    def __init__(self, kind=""):
        super().__init__(5, cells=3)
        self.kind = kind

    def level(self, number, evidence, state, p):
        q = super().level(number, evidence, state, p)
        if number == 0:
            return {"flat": _Flat, "soft": _Soft, "louder": _Louder}.get(self.kind, OneHot)(q.log_probs)
        return _Shifted(q.base_dist, 1) if self.kind == "constant" else q


class _Flat(OneHot):
    """Draws every value equally often, whatever its probability."""

    def sample(self, sample_shape=()):
        return OneHot(torch.zeros_like(self.log_probs)).sample(sample_shape)


class _Soft(OneHot):
    """Draws the probabilities in place of a value."""

    def sample(self, sample_shape=()):
        return self.probs.expand(*sample_shape, *self.probs.shape)


class _Louder(OneHot):
    """Probabilities off by a factor."""

    def log_prob(self, value):
        return super().log_prob(value) + 0.1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("constant", "density integrates to 1.1"),
        ("louder", "total mass is 1.1"),
        ("flat", "do not follow its log_prob: moment 1"),
        ("soft", "must be one-hot"),
    ],
)
def test_posterior_contract_notices_wrong_levels(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_posterior(lambda: _BrokenCells(kind), prior=lambda: CellPrior(5, cells=3))


def test_posterior_contract_passes_the_same_class_without_a_fault():
    check_posterior(_BrokenCells, prior=lambda: CellPrior(5, cells=3))
    check_posterior(lambda: _Broken("none"))


class _BrokenGaussian(Gaussian):
    """A Gaussian likelihood with one fault of choice."""

    def __init__(self, event_shape, scale="learned", kind=""):
        super().__init__(event_shape, scale)
        self.kind = kind

    def forward(self, h):
        p = super().forward(h)
        wrapper = {"constant": _Shifted, "scale": _Wide}.get(self.kind, Independent)
        return wrapper(p.base_dist, len(self.event_shape), validate_args=False)

    def check(self, x):
        if self.kind != "support":
            super().check(x)

    def extra_repr(self):
        return f"event_shape={self.event_shape}, scale={self.scale!r}, kind={self.kind!r}"


@pytest.mark.parametrize(
    ("kind", "message"),
    [("constant", "total mass is 1.1"), ("scale", "do not follow its log_prob"), ("support", "must refuse")],
)
def test_likelihood_contract_notices(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_likelihood(lambda shape: _BrokenGaussian(shape, kind=kind))


class _Surrogate(ELBO):
    """Reports β = 0 as its bound, which lies above log p(x)."""

    def __call__(self, model, x, c, progress):
        out = super().__call__(model, x, c, progress)
        return ObjectiveOutput(out.loss, out.terms["reconstruction"], out.terms)


def test_objective_contract_notices_a_surrogate_reported_as_the_bound():
    with pytest.raises(AssertionError, match="above log p"):
        check_objective(_Surrogate)
