"""scvi-tools with all its defaults, on cells in a scipy .npz.

Reference:
    Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018),
    https://doi.org/10.1038/s41592-018-0229-2
"""

from __future__ import annotations

import time
import warnings

import anndata
import scipy.sparse
import scvi
import torch


class Cells:
    """A model of cells.

    Args:
        fit: Path of a .npz of scipy: the cells to learn from, of which scvi-tools itself sets a tenth aside.
        test: Path of the held-out cells.
        likelihood: "nb" or "zinb".
        seed: Of all draws.
    """

    def __init__(self, fit: str, test: str, likelihood: str, seed: int) -> None:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        scvi.settings.seed = seed
        self.fit, self.test = (anndata.AnnData(scipy.sparse.load_npz(path).tocsr()) for path in (fit, test))
        scvi.model.SCVI.setup_anndata(self.fit)
        self.model = scvi.model.SCVI(self.fit, gene_likelihood=likelihood)

    def run(self, epochs: int | None = None) -> dict[str, float]:
        """Train as long as it does by itself, or for some epochs."""
        began, cpu = time.perf_counter(), time.process_time()
        self.model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False)
        return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}

    def score(self, samples: int) -> float:
        """Return the mean of -log p(x | library) of the held-out cells, nats, by its own estimator."""
        test = self.model._validate_anndata(self.test)
        return -float(self.model.get_marginal_ll(test, n_mc_samples=samples, return_mean=True))
