"""One table: a name from the literature, the choices it stands for, and what to read.

A preset is an overlay on the choice by the data (``defaults.choose``); a configuration file, flags and ``--set``
are laid over it in turn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .errors import ConfigError, suggest


class Preset(NamedTuple):
    """A named choice.

    Attributes:
        summary: What it is, in a line.
        source: Where it comes from.
        overrides: Sections and options, as in a configuration file.
    """

    summary: str
    source: str
    overrides: dict[str, Any]


# A likelihood of which minus the logarithm is the squared error, up to a constant; and codes that are certain.
_SQUARED = {"data": {"binarize": "none"}, "likelihood": {"type": "gaussian", "scale": 0.7071067811865476}}
_CERTAIN = {**_SQUARED, "posterior": {"type": "deterministic"}, "prior": {"type": "standard_normal"}}
_IMAGE_AND_LABEL = {"data": {"parts": ["image", "label"]}}  # of other data: data.parts
# Else a label, whose few nats come first, is all that the codes say.
_RISING = {"type": "linear", "start": 0.0, "end": 1.0, "length": 0.3, "unit": "fraction"}
_LVAE = [4, 8, 16, 32, 64]
_WARM = {"type": "linear", "length": 0.1, "unit": "fraction"}
# Some nats of each level are free at first: else the lower ones are given up before they have been tried.
_LEVELS = {
    "type": "elbo",
    "beta": _WARM,
    "free_bits": {"type": "linear", "start": 4.0, "end": 0.0, "length": 0.3, "unit": "fraction"},
    "free_bits_of": "level",
}
_TIGHTER = "Rainforth et al. 2018, arXiv:1802.04537"

_SCVI = "Lopez et al. 2018, doi:10.1038/s41592-018-0229-2"
# The KL rises over the first 400 epochs there, or over the whole of a shorter run.
_CELLS = {
    "data": {"values": "count"},
    "latent": 10,
    "network": {"type": "mlp", "hidden": [128], "dropout": 0.1},
    "objective": {"type": "elbo", "beta": {"type": "linear", "length": 1.0, "unit": "fraction"}},
}

_TABLE: dict[str, Preset] = {
    "default": Preset(
        "what suits the data (for bits: importance-weighted bound of 8 samples, DReG through 2)", "", {}
    ),
    "vae": Preset(
        "evidence lower bound, one draw per example",
        "Kingma and Welling 2014, arXiv:1312.6114",
        {"objective": {"type": "elbo"}},
    ),
    "beta-vae": Preset(
        "KL term weighted by 4, for independent latents",
        "Higgins et al. 2017, openreview.net/forum?id=Sy2fzU9gl",
        {"objective": {"type": "elbo", "beta": 4.0}},
    ),
    "kl-warm-up": Preset(
        "weight of the KL term rising from 0 to 1 in the first tenth of the run",
        "Bowman et al. 2016, arXiv:1511.06349; Sønderby et al. 2016, arXiv:1602.02282",
        {"objective": {"type": "elbo", "beta": {"type": "linear", "length": 0.1, "unit": "fraction"}}},
    ),
    "free-bits": Preset(
        "a quarter of a nat per latent dimension free of charge, against posterior collapse",
        "Kingma et al. 2016, arXiv:1606.04934",
        {"objective": {"type": "elbo", "free_bits": 0.25}},
    ),
    "iwae": Preset(
        "importance-weighted bound of 50 samples, the paper's one-layer network",
        "Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519",
        {
            "latent": 50,
            "network": {"type": "mlp", "hidden": [200, 200], "activation": "tanh"},
            "objective": {"type": "importance_weighted", "samples": 50},
        },
    ),
    "dreg": Preset(
        "importance-weighted bound of 16 samples with the doubly reparameterised gradient",
        "Tucker et al. 2019, arXiv:1810.04152",
        {"objective": {"type": "importance_weighted", "samples": 16, "gradient": "dreg"}},
    ),
    "miwae": Preset(
        "mean of 8 importance-weighted bounds of 8 samples",
        _TIGHTER,
        {"objective": {"type": "multiply_weighted", "estimates": 8, "samples": 8}},
    ),
    "piwae": Preset(
        "8 bounds of 8 samples for the encoder, one of all 64 for the decoder",
        _TIGHTER,
        {"objective": {"type": "multiply_weighted", "estimates": 8, "samples": 8, "decoder": "all"}},
    ),
    "ciwae": Preset(
        "half the evidence lower bound, half the importance-weighted one",
        _TIGHTER,
        {"objective": {"type": "combined", "samples": 8, "beta": 0.5}},
    ),
    "vr-iwae": Preset(
        "Rényi's bound of order 0.5 and 8 samples",
        "Daudel et al. 2023, arXiv:2210.06226; Li and Turner 2016, arXiv:1602.02311",
        {"objective": {"type": "renyi", "alpha": 0.5, "samples": 8}},
    ),
    "disentangled-beta-vae": Preset(
        "KL of each example drawn to a capacity that rises to 25 nats in half the run",
        "Burgess et al. 2018, arXiv:1804.03599",
        {
            "objective": {
                "type": "capacity",
                "capacity": {"type": "linear", "start": 0.0, "end": 25.0, "length": 0.5, "unit": "fraction"},
                "gamma": 1000.0,
            }
        },
    ),
    "beta-tcvae": Preset(
        "total correlation of the codes weighted by 6",
        "Chen et al. 2018, arXiv:1802.04942",
        {"objective": {"type": "total_correlation", "beta": 6.0}},
    ),
    "factor-vae": Preset(
        "total correlation of the codes, by a critic, weighted by 10",
        "Kim and Mnih 2018, arXiv:1802.05983",
        {"objective": {"type": "factor_vae", "gamma": 10.0}},
    ),
    "dip-vae-i": Preset(
        "covariance of the posterior means drawn to the identity",
        "Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848",
        {"objective": {"type": "dip", "kind": "i", "off_diagonal": 10.0, "diagonal": 100.0}},
    ),
    "dip-vae-ii": Preset(
        "covariance of the codes drawn to the identity",
        "Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848",
        {"objective": {"type": "dip", "kind": "ii", "off_diagonal": 10.0, "diagonal": 10.0}},
    ),
    "info-vae": Preset(
        "half of the KL left out, the MMD of codes and prior added",
        "Zhao, Song and Ermon 2019, arXiv:1706.02262",
        {"objective": {"type": "info_vae", "alpha": 0.5, "weight": 100.0}},
    ),
    "mmd-vae": Preset(
        "the MMD of codes and prior in place of the KL; the bound is still reported",
        "Zhao, Song and Ermon 2019, arXiv:1706.02262",
        {"objective": {"type": "info_vae", "alpha": 1.0, "weight": 100.0}},
    ),
    "ae": Preset(
        "plain autoencoder, squared error; no bound",
        "Hinton and Salakhutdinov 2006, Reducing the dimensionality of data with neural networks",
        {**_CERTAIN, "objective": {"type": "regularised", "beta": 0.0, "penalty": "none"}},
    ),
    "rae-l2": Preset(
        "autoencoder with small codes and a small decoder; sample after lowerbound.ex_post; no bound",
        "Ghosh et al. 2020, arXiv:1903.12436",
        {**_CERTAIN, "objective": {"type": "regularised", "penalty": "l2"}},
    ),
    "rae-gp": Preset(
        "autoencoder with small codes and a smooth decoder; sample after lowerbound.ex_post; no bound",
        "Ghosh et al. 2020, arXiv:1903.12436",
        {**_CERTAIN, "objective": {"type": "regularised", "penalty": "gradient"}},
    ),
    "wae-mmd": Preset(
        "Wasserstein autoencoder: squared error and the MMD of codes and prior; no bound",
        "Tolstikhin et al. 2018, arXiv:1711.01558",
        {**_CERTAIN, "objective": {"type": "wasserstein", "weight": 10.0}},
    ),
    "wae-gan": Preset(
        "Wasserstein autoencoder: squared error and a critic of codes; no bound",
        "Tolstikhin et al. 2018, arXiv:1711.01558",
        {**_CERTAIN, "objective": {"type": "adversarial", "weight": 10.0}},
    ),
    "swae": Preset(
        "squared error and the sliced Wasserstein distance of codes and prior; no bound",
        "Kolouri et al. 2018, arXiv:1804.01947",
        {**_CERTAIN, "objective": {"type": "wasserstein", "weight": 10.0, "distance": "sliced_wasserstein"}},
    ),
    "aae": Preset(
        "squared error and a critic of codes; no bound",
        "Makhzani et al. 2016, arXiv:1511.05644",
        {**_CERTAIN, "objective": {"type": "adversarial"}},
    ),
    "planar-flow": Preset(
        "posterior bent by planar flows",
        "Rezende and Mohamed 2015, arXiv:1505.05770",
        {"posterior": {"type": "planar"}, "objective": {"type": "elbo"}},
    ),
    "sylvester-flow": Preset(
        "posterior bent by Sylvester flows",
        "van den Berg et al. 2018, arXiv:1803.05649",
        {"posterior": {"type": "sylvester"}, "objective": {"type": "elbo"}},
    ),
    "vae-iaf": Preset(
        "inverse autoregressive flow as posterior",
        "Kingma et al. 2016, arXiv:1606.04934",
        {"posterior": {"type": "iaf", "transforms": 2, "hidden": [128, 128]}, "objective": {"type": "elbo"}},
    ),
    "hvae": Preset(
        "codes carried on by three tempered leapfrog steps, their momenta in the bound",
        "Caterini, Doucet and Sejdinovic 2018, arXiv:1805.11328",
        {
            "posterior": {"type": "hamiltonian"},
            "prior": {"type": "momentum"},
            "objective": {"type": "elbo"},
        },
    ),
    "rhvae": Preset(
        "the same under a metric that is learned, small where codes lie: generalised leapfrog steps",
        "Chadebec, Mantoux and Allassonnière 2020, arXiv:2010.11518; Chadebec et al. 2022, arXiv:2105.00026",
        {
            "posterior": {"type": "riemannian"},
            "prior": {"type": "momentum"},
            "objective": {"type": "elbo"},
        },
    ),
    "flow-prior": Preset(
        "flow of affine couplings as prior",
        "Chen et al. 2017, arXiv:1611.02731; Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803",
        {"prior": {"type": "flow"}, "objective": {"type": "elbo"}},
    ),
    "vamp": Preset(
        "mixture of the posteriors of 50 learned pseudo-inputs as prior; 500 in the paper",
        "Tomczak and Welling 2018, arXiv:1705.07120",
        {"prior": {"type": "vamp", "components": 50}, "objective": {"type": "elbo"}},
    ),
    "ladder": Preset(
        "two levels, the second a change of what its prior says, under a flow as the first one's prior",
        "Vahdat and Kautz 2020, arXiv:2007.03898; Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803",
        {
            "posterior": {"type": "ladder"},
            "prior": {"type": "ladder", "top": {"type": "flow"}},
            "objective": _LEVELS,
            "training": {"skip": 10.0},
        },
    ),
    "lvae": Preset(
        "five levels, each the product of the data's vote and the prior; KL weight rising for a tenth of the run",
        "Sønderby et al. 2016, arXiv:1602.02282",
        {
            "posterior": {"type": "ladder", "sizes": _LVAE, "merge": "precision"},
            "prior": {"type": "ladder", "sizes": _LVAE},
            "objective": {"type": "elbo", "beta": _WARM},
        },
    ),
    "hierarchical-vamp": Preset(
        "two levels under a mixture of the posteriors of 50 learned pseudo-inputs; 500 in the paper",
        "Tomczak and Welling 2018, arXiv:1705.07120, section 4",
        {
            "posterior": {"type": "ladder"},
            "prior": {"type": "ladder", "top": {"type": "vamp", "components": 50}},
            "objective": _LEVELS,
        },
    ),
    "conv-ladder": Preset(
        "eight levels that are maps, along a path of convolutions; for images",
        "Vahdat and Kautz 2020, arXiv:2007.03898; Child 2021, arXiv:2011.10650",
        {
            "network": {"type": "conv", "channels": [32], "hidden": 0},
            "posterior": {"type": "conv_ladder", "scales": [4, 4]},
            "prior": {"type": "conv_ladder", "scales": [4, 4]},
            "objective": _LEVELS,
            "training": {"skip": 10.0},
        },
    ),
    "mixture-prior": Preset(
        "mixture of 10 Gaussians as prior",
        "Dilokthanakul et al. 2016, arXiv:1611.02648",
        {"prior": {"type": "gaussian_mixture", "components": 10}, "objective": {"type": "elbo"}},
    ),
    "svae": Preset(
        "codes on the sphere: von Mises-Fisher posterior, uniform prior",
        "Davidson et al. 2018, arXiv:1804.00891",
        {
            "posterior": {"type": "von_mises_fisher"},
            "prior": {"type": "sphere"},
            "objective": {"type": "elbo"},
        },
    ),
    "poincare-vae": Preset(
        "codes on the Poincaré ball, wrapped normal laws",
        "Mathieu et al. 2019, arXiv:1901.06033",
        {"posterior": {"type": "poincare"}, "prior": {"type": "poincare"}, "objective": {"type": "elbo"}},
    ),
    "gamma-vae": Preset(
        "positive codes, gamma laws",
        "Naesseth et al. 2017, arXiv:1610.05683",
        {"posterior": {"type": "gamma"}, "prior": {"type": "gamma"}, "objective": {"type": "elbo"}},
    ),
    "vq-vae": Preset(
        "codes out of a book of 512 rows",
        "van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937",
        {
            "posterior": {"type": "vq"},
            "prior": {"type": "codebook", "codes": 512},
            "objective": {"type": "elbo"},
        },
    ),
    "vq-vae-map": Preset(
        "a map of codes, a place for every 4 x 4 pixels, which masked convolutions predict; for images",
        "van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937; van den Oord et al. 2016, arXiv:1606.05328",
        {
            "network": {"type": "resnet", "channels": [32, 64], "blocks": 1, "hidden": 0},
            "posterior": {"type": "vq", "stride": 4},
            "prior": {"type": "codebook", "codes": 512, "width": 16, "stride": 4, "order": 64},
            "objective": {"type": "elbo"},
        },
    ),
    "rq-vae": Preset(
        "codes out of two books, the second for what the first leaves over",
        "Lee et al. 2022, arXiv:2203.01941",
        {
            "latent": 32,
            "posterior": {"type": "vq", "depth": 2},
            "prior": {"type": "codebook", "codes": 64, "depth": 2},
            "objective": {"type": "elbo"},
        },
    ),
    "hrq-vae": Preset(
        "codes chosen out of four books of 64 rows, each for what those above leave over, layers dropped in training",
        "Hosking, Tang and Lapata 2022, aclanthology.org/2022.acl-long.178",
        {
            "latent": 64,
            "posterior": {"type": "gumbel_vq", "depth": 4, "drop": 0.1, "norm": 0.5},
            "prior": {"type": "codebook", "codes": 64, "depth": 4, "width": 16, "learning": "gradient"},
            "objective": {"type": "elbo", "beta": 0.1},
        },
    ),
    "fsq-vae": Preset(
        "codes rounded to the points of a lattice",
        "Mentzer et al. 2024, arXiv:2309.15505",
        {
            "latent": 16,
            "posterior": {"type": "fsq"},
            "prior": {"type": "lattice"},
            "objective": {"type": "elbo"},
        },
    ),
    "categorical-vae": Preset(
        "choices in place of numbers, by the Gumbel-softmax",
        "Jang, Gu and Poole 2017, arXiv:1611.01144; Maddison, Mnih and Teh 2017, arXiv:1611.00712",
        {
            "latent": 80,
            "posterior": {"type": "gumbel_softmax"},
            "prior": {"type": "categorical"},
            "objective": {"type": "elbo"},
        },
    ),
    "joint-vae": Preset(
        "ten numbers beside one choice of ten, each with a capacity that rises in half the run",
        "Dupont 2018, arXiv:1804.00104",
        {
            "latent": 20,
            "posterior": {
                "type": "product",
                "blocks": {
                    "numbers": {"type": "diagonal_gaussian", "latent": 10},
                    "choice": {"type": "gumbel_softmax", "latent": 10, "temperature": 0.67},
                },
            },
            "prior": {
                "type": "product",
                "blocks": {
                    "numbers": {"type": "standard_normal", "latent": 10},
                    "choice": {"type": "categorical", "latent": 10},
                },
            },
            "objective": {
                "type": "capacity",
                "capacity": [
                    {"type": "linear", "start": 0.0, "end": 5.0, "length": 0.5, "unit": "fraction"},
                    # At most log 10: more a choice cannot say.
                    {"type": "linear", "start": 0.0, "end": 2.3, "length": 0.5, "unit": "fraction"},
                ],
                "gamma": 30.0,
            },
        },
    ),
    "log-cosh-vae": Preset(
        "normalised log-cosh likelihood: squared near, absolute far",
        "Chen, Chen and Teng 2019, Log hyperbolic cosine loss improves variational auto-encoder",
        {"data": {"binarize": "none"}, "likelihood": {"type": "log_cosh"}, "objective": {"type": "elbo"}},
    ),
    "scvi": Preset(
        "counts of genes given the library size: zero-inflated negative binomial, a dispersion for each gene",
        _SCVI,
        {**_CELLS, "likelihood": {"type": "negative_binomial", "library": "given", "zero_inflated": True}},
    ),
    "scvi-nb": Preset(
        "the same without more zeros: negative binomial",
        _SCVI,
        {**_CELLS, "likelihood": {"type": "negative_binomial", "library": "given"}},
    ),
    "scvi-poisson": Preset(
        "the same without more variance: Poisson",
        _SCVI,
        {**_CELLS, "likelihood": {"type": "poisson", "library": "given"}},
    ),
    "ldvae": Preset(
        "scVI with a linear decoder, whose weights say which genes go together",
        "Svensson et al. 2020, doi:10.1093/bioinformatics/btaa169",
        {
            **_CELLS,
            "decoder": {"type": "mlp", "hidden": []},
            "likelihood": {"type": "negative_binomial", "library": "given"},
        },
    ),
    "nvdm": Preset(
        "bags of words given their number: multinomial, a linear decoder",
        "Miao, Yu and Blunsom 2016, arXiv:1511.06038",
        {
            "data": {"values": "count"},
            "latent": 50,
            "network": {"type": "mlp", "hidden": [500, 500], "activation": "tanh"},
            "decoder": {"type": "mlp", "hidden": []},
            "likelihood": {"type": "multinomial", "total": "given"},
            "objective": {"type": "elbo"},
        },
    ),
    "vae-gan": Preset(
        "reconstruction in the features of a critic; no bound",
        "Larsen et al. 2016, arXiv:1512.09300",
        {
            "data": {"binarize": "none"},
            "likelihood": {"type": "gaussian", "scale": 1.0},
            "objective": {"type": "vae_gan"},
            "training": {"keep": "last"},
        },
    ),
    "ms-ssim-vae": Preset(
        "multi-scale structural similarity in place of a likelihood; no bound; for images",
        "Snell et al. 2017, arXiv:1511.06409",
        {
            "data": {"binarize": "none"},
            "likelihood": {"type": "gaussian", "scale": 1.0},
            "objective": {"type": "structural_similarity"},
        },
    ),
    "dfc-vae": Preset(
        "reconstruction in the layers of a classifier that learns the labels first; no bound",
        "Hou et al. 2017, arXiv:1610.00291",
        {
            "data": {"binarize": "none"},
            "likelihood": {"type": "gaussian", "scale": 1.0},
            "objective": {"type": "deep_features"},
        },
    ),
    "sigma-vae": Preset(
        "grey levels with the Gaussian likelihood's optimal standard deviation",
        "Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202",
        {"data": {"binarize": "none"}, "likelihood": {"type": "gaussian", "scale": "optimal"}},
    ),
    "continuous-bernoulli": Preset(
        "grey levels with the normalised relative of the cross-entropy",
        "Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845",
        {"data": {"binarize": "none"}, "likelihood": {"type": "continuous_bernoulli"}},
    ),
    "full-covariance": Preset(
        "posterior with correlated latents",
        "Kingma and Welling 2019, arXiv:1906.02691, section 2.5.1",
        {"posterior": {"type": "full_covariance_gaussian"}},
    ),
    "cvae": Preset(
        "conditional prior; for data loaded with a condition",
        "Sohn, Lee and Yan 2015, Learning structured output representation using deep conditional generative models",
        {"prior": {"type": "conditional_gaussian"}, "objective": {"type": "elbo"}},
    ),
    "m2": Preset(
        "classifier q(y | x) learned with the generative model, missing labels summed out",
        "Kingma et al. 2014, arXiv:1406.5298",
        {
            "data": {"condition": "label"},
            "classifier": {"type": "mlp"},
            "objective": {"type": "semi_supervised"},
            "training": {"labelled_per_batch": 50, "keep": "last"},
        },
    ),
    "mvae": Preset(
        "several parts of x: product of experts, bounds on all parts and on each alone",
        "Wu and Goodman 2018, arXiv:1802.05335",
        {
            **_IMAGE_AND_LABEL,
            "posterior": {"type": "experts", "combine": "poe"},
            "objective": {
                "type": "subsets",
                "objective": {"type": "elbo", "beta": _RISING},
            },
        },
    ),
    "mmvae": Preset(
        "several parts of x: mixture of experts, importance-weighted bound of 10 samples, DReG",
        "Shi et al. 2019, arXiv:1911.03393",
        {
            **_IMAGE_AND_LABEL,
            "posterior": {"type": "experts", "combine": "moe", "stratified": False},
            "objective": {"type": "importance_weighted", "samples": 10, "gradient": "dreg"},
        },
    ),
    "mopoe": Preset(
        "several parts of x: mixture of the products of every set of experts",
        "Sutter, Daunhawer and Vogt 2021, arXiv:2105.02470",
        {
            **_IMAGE_AND_LABEL,
            "posterior": {"type": "experts", "combine": "mopoe"},
            "objective": {"type": "elbo", "beta": _RISING},
        },
    ),
    "mvtcae": Preset(
        "several parts of x: product of experts, each drawn to what all say",
        "Hwang et al. 2021, Multi-view representation learning via total correlation objective",
        {
            **_IMAGE_AND_LABEL,
            "posterior": {"type": "experts", "combine": "poe"},
            "objective": {"type": "mvtcae", "alpha": 0.9, "beta": {**_RISING, "end": 2.5}},
        },
    ),
    "conv": Preset("convolutional networks", "", {"network": {"type": "conv"}}),
    "resnet": Preset("residual convolutional networks", "", {"network": {"type": "resnet"}}),
    "linear": Preset(
        "affine networks and one learned σ: probabilistic PCA, whose optimum is known",
        "Tipping and Bishop 1999; Lucas et al. 2019, arXiv:1911.02469",
        {
            "network": {"type": "mlp", "hidden": []},
            "likelihood": {"type": "gaussian", "scale": "learned"},
            "transform": "none",
            "objective": {"type": "elbo"},
        },
    ),
}

# What was published without a word on the prior has N(0, I), also where another one would suit the data.
PRESETS = {
    name: one._replace(overrides={"prior": {"type": "standard_normal"}, **one.overrides})
    if one.source
    else one
    for name, one in _TABLE.items()
}


def preset(name: str) -> dict[str, Any]:
    """Return the overrides of a preset.

    Raises:
        ConfigError: there is no such preset; the nearest one is given.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; {suggest(name, PRESETS)}")
    return PRESETS[name].overrides
