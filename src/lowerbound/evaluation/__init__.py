"""How good is a model: its log-likelihood and how far to trust that, its bound, the use of its latents."""

from .aggregate import AggregatePosterior, aggregate_posterior
from .annealed import Annealed, Gaps, Sandwich, ais, bdmc, gaps
from .bounds import Bound, bound
from .classification import ErrorRate, classification_error
from .collapse import CollapseForecast, collapse_forecast
from .columns import column_log_probs, oddest
from .conditional import ConditionalNLL, conditional_nll
from .factors import (
    Disentanglement,
    dci,
    disentanglement,
    factor_vae_score,
    gaussian_total_correlation,
    importances,
    mig,
    modularity,
    mutual_information,
    sap,
)
from .importance import NLL, nll
from .latent import ActiveUnits, Codes, active_units, posterior_collapse_warning, posterior_means
from .outliers import OutlierDetection, auroc, likelihood_regret, outlier_detection
from .privacy import Closeness, closeness
from .proposals import PROPOSALS
from .quality import (
    ClassifierFeatures,
    SampleQuality,
    Score,
    classifier_features,
    compare_features,
    density_coverage,
    frechet_distance,
    kernel_distance,
    precision_recall,
    sample_quality,
)
from .stream import Options
from .summary import bits_per_dim, summary

__all__ = [
    "NLL",
    "PROPOSALS",
    "ActiveUnits",
    "AggregatePosterior",
    "Annealed",
    "Bound",
    "ClassifierFeatures",
    "Closeness",
    "Codes",
    "CollapseForecast",
    "ConditionalNLL",
    "Disentanglement",
    "ErrorRate",
    "Gaps",
    "Options",
    "OutlierDetection",
    "SampleQuality",
    "Sandwich",
    "Score",
    "active_units",
    "aggregate_posterior",
    "ais",
    "auroc",
    "bdmc",
    "bits_per_dim",
    "bound",
    "classification_error",
    "classifier_features",
    "closeness",
    "collapse_forecast",
    "column_log_probs",
    "compare_features",
    "conditional_nll",
    "dci",
    "density_coverage",
    "disentanglement",
    "factor_vae_score",
    "frechet_distance",
    "gaps",
    "gaussian_total_correlation",
    "importances",
    "kernel_distance",
    "likelihood_regret",
    "mig",
    "modularity",
    "mutual_information",
    "nll",
    "oddest",
    "outlier_detection",
    "posterior_collapse_warning",
    "posterior_means",
    "precision_recall",
    "sample_quality",
    "sap",
    "summary",
]
