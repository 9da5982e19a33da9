"""Where the records of a run go beside ``metrics.jsonl``: a .csv, TensorBoard, Weights & Biases, MLflow.

Any logger of Lightning, or an object with its ``log_metrics``, does as well. Each name stands for one of them, whose
package is looked for before any work starts.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..display import flat, needed
from ..errors import ConfigError, LowerboundError, suggest
from .checkpoint import write_atomically

Records = Sequence[Mapping[str, Any]]
_OF_BOTH = ("epoch", "examples", "seconds", "learning_rate", "images_per_second")  # not of one split


class CSVLogger:
    """The records as a table with a row for each evaluation: ``train_bound``, ``valid_bound``, ...

    Args:
        path: The file; written anew with each row.
    """

    group_separator = "_"

    def __init__(self, path: str | Path) -> None:
        self._path, self._rows = Path(path), list[dict[str, Any]]()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row; a name that is new becomes a column at the end."""
        self._rows.append({"step": step, **metrics})
        names = dict.fromkeys(name for row in self._rows for name in row)
        text = io.StringIO()
        table = csv.DictWriter(text, list(names), lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self._path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8")
        )


def _tensorboard(folder: Path) -> Any:
    if not any(importlib.util.find_spec(name) for name in ("tensorboard", "tensorboardX")):
        needed("tensorboard", "--log tensorboard", "tensorboard")
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)


def _wandb(folder: Path) -> Any:
    needed("wandb", "--log wandb", "wandb pytorch-lightning")
    loggers = needed("pytorch_lightning.loggers", "--log wandb", "wandb pytorch-lightning")
    return loggers.WandbLogger(name=folder.name, save_dir=folder, project="lowerbound")


def _mlflow(folder: Path) -> Any:
    mlflow = needed("mlflow", "--log mlflow", "mlflow pytorch-lightning")
    loggers = needed("pytorch_lightning.loggers", "--log mlflow", "mlflow pytorch-lightning")
    # Lightning's own default is a store that MLflow no longer opens.
    uri = mlflow.get_tracking_uri()
    return loggers.MLFlowLogger(experiment_name="lowerbound", run_name=folder.name, tracking_uri=uri)


LOGGERS: dict[str, Callable[[Path], Any]] = {
    "csv": lambda folder: CSVLogger(folder / "metrics.csv"),
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def make_loggers(asked: Any, folder: Path | None) -> list[Any]:
    """Return the loggers of a run.

    Args:
        asked: A name, an object with Lightning's ``log_metrics(metrics, step)``, a list of these, or None.
        folder: The run's folder.

    Raises:
        ConfigError: an unknown name, one whose package is missing, with the line that installs it, or no logger.
    """
    made = []
    for one in asked if isinstance(asked, list | tuple) else [] if asked is None else [asked]:
        if isinstance(one, str):
            if one not in LOGGERS:
                raise ConfigError(f"there is no logger {one!r}; {suggest(one, LOGGERS)}")
            if folder is None:
                raise ConfigError(f"logger={one!r} belongs to a run with a folder; name it with out=")
            try:
                one = LOGGERS[one](folder)
            except LowerboundError:
                raise
            except Exception as error:  # whatever another library raises
                raise ConfigError(
                    f"--log {one} cannot begin: {type(error).__name__}: {str(error)[:500]}"
                ) from error
        elif not callable(getattr(one, "log_metrics", None)):
            raise ConfigError(
                f"a logger is one of {', '.join(LOGGERS)}, or has Lightning's log_metrics(metrics, step); got "
                f"{type(one).__name__}"
            )
        made.append(one)
    return made


@contextlib.contextmanager
def logging_to(
    loggers: Sequence[Any], config: Mapping[str, Any] | None, before: Records
) -> Iterator[Callable[[Records], None]]:
    """Give what sends the two records of an evaluation to all loggers; they are closed however the block ends.

    A logger that fails is left out from then on, with a warning: no run ends for it.

    Args:
        loggers: Lightning's.
        config: The run's choices.
        before: The records of a run that goes on.
    """
    live = list(loggers)

    def each(do: Callable[[Any], Any]) -> None:
        for logger in live[:]:
            try:
                do(logger)
            except Exception as error:  # whatever another library raises
                live.remove(logger)
                what = f"{type(error).__name__}: {str(error)[:500]}"
                warnings.warn(
                    f"{type(logger).__name__} failed and is left out ({what}); the run goes on without it",
                    stacklevel=2,
                )

    def send(records: Records) -> None:
        each(lambda logger: logger.log_metrics(_metrics(records, logger), step=int(records[-1]["step"])))

    if config is not None:
        choices = dict(flat({key: config.get(key) for key in ("model", "objective", "training")}))
        each(lambda logger: getattr(logger, "log_hyperparams", lambda _: None)(choices))
    for place in range(0, len(before) - 1, 2):  # only a file that is written anew lacks them
        rows = before[place : place + 2]
        for logger in (one for one in live if isinstance(one, CSVLogger)):
            logger.log_metrics(_metrics(rows, logger), step=int(rows[-1]["step"]))
    status = "failed"
    try:
        yield send
        status = "success"
    finally:
        each(lambda logger: getattr(logger, "finalize", lambda _: None)(status))


def _metrics(records: Records, logger: Any) -> dict[str, Any]:
    """Return the numbers of an evaluation in one table."""
    apart = getattr(logger, "group_separator", "/")
    found = {name: records[-1][name] for name in _OF_BOTH if name in records[-1]}
    for record in records:
        own = {k: v for k, v in record.items() if k not in (*_OF_BOTH, "step", "split")}
        found |= {f"{record['split']}{apart}{name}": value for name, value in own.items()}
    return found
