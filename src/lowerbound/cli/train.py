"""``lowerbound train``: from data to a run folder."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display import signed, wrapped
from ..errors import ConfigError
from ..names import merge, parse_assignment, words
from ..presets import PRESETS
from ..presets import preset as preset_overrides
from .checks import in_flags, layer_of_flags
from .given import mask_rule
from .inspect import described
from .options import (
    ChangedDataOption,
    ColumnsOption,
    DropOption,
    ImageSizeOption,
    LabelOption,
    MissingOption,
    OverwriteOption,
    QuietOption,
    RootOption,
    SchemaOption,
    device_name,
    number,
    one_of,
    picture_size,
    settings_like,
    sources_here,
)

_FLAGS = "the command line"

if TYPE_CHECKING:
    from ..data import Data
    from ..model import VAE
    from ..objectives import Objective
    from ..training import Run


def train(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="digits, mnist, fashion-mnist; a table (.csv, .xlsx, .parquet, ...); a folder of images; a .npy, "
            ".npz or .tar file.",
            autocompletion=sources_here,
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A name from `lowerbound list presets`.", autocompletion=lambda: [*PRESETS]
        ),
    ] = "default",
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A TOML or JSON file with the sections that --set names."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PART.OPTION=VALUE",
            help="Override one choice; a list is written a,b. May be repeated.",
            autocompletion=settings_like,
        ),
    ] = None,
    latent: Annotated[
        int | None,
        typer.Option(metavar="N", callback=number(1), help="Number of latent dimensions."),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="mlp, conv, resnet, ...; by the data if not given."),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            metavar="B", callback=number(0), help="Weight of the KL term, with the ELBO as objective."
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            callback=number(0, above=True),
            help="Length of the run in passes over the data; 50, or more of few data, if not given.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M", callback=number(0, above=True), help="Length of the run by the clock instead."
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(metavar="R", callback=number(0, above=True), help="Highest learning rate."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", callback=number(1), help="Examples per step.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=number(1),
            help="Stop after so many evaluations without a better validation bound.",
        ),
    ] = None,
    columns: ColumnsOption = None,
    drop: DropOption = None,
    label: LabelOption = None,
    missing: MissingOption = None,
    image_size: ImageSizeOption = None,
    binarize: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            callback=one_of("none", "dynamic", "static", "threshold"),
            help="none, dynamic, static or threshold; the data's usual one if not given.",
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What x depends on: label, a table's column, or an array of a .npz; several as a,b.",
        ),
    ] = None,
    observed: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Learn to complete x from a part of it: quadrant, half, three-quadrants, random, or a table's "
            "columns like age,height.",
        ),
    ] = None,
    schema: SchemaOption = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", callback=number(0), help="Seed of every draw; 0 if not given."),
    ] = None,
    root: RootOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder; runs/SOURCE if not given."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", callback=device_name, help="auto, cpu, cuda, ...; auto if not given."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=one_of("auto", "fp32", "bf16"),
            help="Of the networks: auto, fp32 or bf16.",
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also send the records to csv, tensorboard, wandb or mlflow; may be repeated.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out exactly where it stopped.")
    ] = False,
    changed_data: ChangedDataOption = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a VAE on SOURCE, conditional or not, and write a run folder.

    The folder holds the weights, the metrics and, for images, pictures. Later choices win over earlier ones: those by
    the data, --preset, --config, --set, and the other options.
    """
    found = layers(locals())
    from ..persistence import fit
    from ..report import write_pictures
    from ..training.loggers import make_loggers

    make_loggers(log, Path("."))  # names and packages, before any work starts
    choices = laid_over(found)
    quiet = quiet or not _first_process()
    begin = functools.partial(_continue, changed_data=changed_data) if resume else _start
    folder, data, model, objective, settings = begin(source, out, choices, overwrite)
    if not quiet:
        print("\n".join([*described(data), f"writing to {folder}"]), file=sys.stderr)
        if warning := _foretold(model, data, objective):
            print(*wrapped(in_flags(f"warning: {warning}")), sep="\n", file=sys.stderr)
    run = fit(
        model,
        data,
        objective=objective,
        out=folder,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        logger=log,
        changed_data=changed_data,
        **settings,
    )
    pictures = write_pictures(folder, run.model, data, run.history) if _first_process() else []
    if not quiet:
        for line in _outcome(run, folder, pictures):
            print(*wrapped(line), sep="\n", file=sys.stderr)
        for warning in _warnings(run, data) if run.stopped != "interrupted" else ():
            print("", *wrapped(f"warning: {warning}"), sep="\n", file=sys.stderr)
    _leave_the_group()
    if run.stopped == "interrupted":
        sys.exit(130)


def _leave_the_group() -> None:
    """End this process's part in a group of several: its threads may abort an interpreter that exits before them."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _first_process() -> bool:
    """Return whether this is the process that speaks, draws and owns the folder: one of those under torchrun."""
    return os.environ.get("RANK", "0") == "0"


def layers(given: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what the user chose, by where it stands, in the order in which it counts.

    Raises:
        ConfigError: something cannot be read.
    """
    names = words(",".join(given["condition"])) if given["condition"] else []
    lists: dict[str, Any] = {
        "condition": names[0] if len(names) == 1 else names or None,
        "observed": given["observed"] and mask_rule(given["observed"]),
        "columns": given["columns"] and words(given["columns"]),
        "missing": given["missing"] and words(given["missing"]),
        "image_size": given["image_size"] and picture_size(given["image_size"]),
    }
    found = [
        ("--preset", preset_overrides(given["preset"])),
        *from_file(given["config"]),
        ("--set", functools.reduce(merge, map(parse_assignment, given["set_"] or []), {})),
        (_FLAGS, layer_of_flags({**given, **lists})),
    ]
    for where, layer in found[:-1]:  # the numbers of flags have been checked one by one
        _check_sizes(layer, where)
    return found


def laid_over(layers: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return all that the user chose: each layer is laid over the ones before, and then all are checked."""
    from ..overrides import check_overrides

    choices: dict[str, Any] = {}
    for where, layer in layers:
        choices = merge(choices, layer)
        check_overrides(choices, where)
        choices = _one_length(choices, layer)
    return choices


def _check_sizes(value: Any, where: str) -> None:
    """Refuse whole numbers that no array can count."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_sizes(part, where)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(f"{where}: whole numbers are below 2**63; got {value:.3g}")


def _one_length(merged: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Let the last layer that names a length decide: --minutes replaces a file's epochs, and the other way."""
    named = {"epochs", "minutes"} & layer.get("training", {}).keys()
    if len(named) != 1:
        return merged
    other = ({"epochs", "minutes"} - named).pop()
    return merged | {"training": {k: v for k, v in merged["training"].items() if k != other}}


def _start(
    source: str | None, out: Path | None, choices: dict[str, Any], overwrite: bool
) -> tuple[Path, Data, VAE, Objective | None, dict[str, Any]]:
    """Return the parts of a new run. What can be refused without the data is, before they are read."""
    import torch

    from .. import data as sources
    from ..defaults import model_for_data
    from ..overrides import build_settings
    from ..registry import build_objective
    from ..training import RunFolder
    from ..training.devices import choose_device
    from ..training.engine import is_restarted

    assert source is not None  # checked
    objective = build_objective(choices["objective"]) if "objective" in choices else None
    settings = build_settings(choices.get("training", {}))
    choose_device(settings.device)
    folder = out or _free_folder(source, overwrite)
    taken = folder.exists() and not is_restarted(RunFolder(folder))
    if _first_process() and taken and not overwrite:
        RunFolder(folder).prepare()  # refuses a folder that holds another run; nothing is written yet
    data = sources.load(source, **choices.get("data", {}))
    slots = {k: v for k, v in choices.items() if k not in ("latent", "training", "objective", "data")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = model_for_data(data, choices.get("latent"), **slots)
    return folder, data, model, objective, choices.get("training", {})


def _continue(
    source: str | None, out: Path | None, choices: dict[str, Any], overwrite: bool, changed_data: bool
) -> tuple[Path, Data, VAE, Objective | None, dict[str, Any]]:
    """Return the parts of the run in ``out`` as it was started; the checkpoint then fills in the weights."""
    from ..persistence import FREE_SETTINGS, build_stored, open_data, read_config
    from ..registry import build_objective
    from ..training import RunFolder

    if out is None or overwrite:
        raise ConfigError("--resume needs --out, the folder of the run to continue, and excludes --overwrite")
    changed = [section for section in choices if section not in ("training", "data")]
    changed += [f"training.{name}" for name in choices.get("training", {}) if name not in FREE_SETTINGS]
    changed += [f"data.{name}" for name in choices.get("data", {}) if name != "root"]
    if changed:
        raise ConfigError(
            f"--resume takes all choices from the run, but {changed[0]} was given; only {', '.join(FREE_SETTINGS)} "
            "and --root may be"
        )
    folder = RunFolder(out)
    config = read_config(folder)
    folder.prepare(resume=True)  # refuses a folder without a checkpoint
    if config.get("objective", {}).get("type", "custom") == "custom":
        raise ConfigError(f"{out} was trained with an objective of your own; resume it in Python with fit")
    place = config["data"].get("paths", {}).get("source")
    if source not in (None, config["data"]["source"]) and str(Path(source).expanduser().resolve()) != place:
        raise ConfigError(f"{out} was trained on {config['data']['source']!r}, not on {source!r}")
    model = build_stored(folder, config)
    data = open_data(config, changed_data=changed_data, **choices.get("data", {}))
    return out, data, model, build_objective(config["objective"]), choices.get("training", {})


def from_file(path: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the sections of a TOML or JSON file by its name; nothing without a file.

    Raises:
        ConfigError: it cannot be read, or has no sections.
    """
    import json
    import tomllib

    if path is None:
        return []
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        layer = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no valid {kind}: {error}") from None
    if not isinstance(layer, dict):
        raise ConfigError(f"{path}: a configuration is a table of sections; got {layer!r}")
    return [(str(path), layer)]


def _free_folder(source: str, overwrite: bool) -> Path:
    """Return runs/NAME, or runs/NAME-2, ... if that is taken by another launch and is to stay."""
    from ..training import RunFolder
    from ..training.engine import is_restarted

    name = Path(source).resolve().stem or "run"
    folder, number = Path("runs") / name, 2
    while folder.exists() and not overwrite and not is_restarted(RunFolder(folder)):
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder


def _foretold(model: VAE, data: Data, objective: Objective | None) -> str | None:
    """Return which latent dimensions the chosen noise will hide, or None; one that is fitted finds its own level."""
    from ..evaluation import collapse_forecast

    beta = getattr(objective, "beta", None)
    if not isinstance(beta, int | float) or not isinstance(getattr(model.likelihood, "scale", None), float):
        return None
    try:
        return collapse_forecast(model, data.train.take(5000), beta=beta, progress=False).warning
    except ConfigError:  # not of such a model
        return None


def _warnings(run: Run, data: Data) -> list[str]:
    """Return what went wrong, each with its cause; of the codes only once the model has learned what it can."""
    from ..evaluation import active_units, bound, posterior_collapse_warning
    from ..training.health import findings, settled

    rate = max((record.get("learning_rate", 0.0) for record in run.history), default=0.0)
    found = findings(run.history, rate, run.stopped)
    if settled(run.history) and not found:
        some = data.valid.take(1000)
        found += filter(
            None, [posterior_collapse_warning(active_units(run.model, some), bound(run.model, some))]
        )
    return [in_flags(text) for text in found]


def _outcome(run: Run, folder: Path, pictures: Sequence[Path]) -> list[str]:
    """Return how the run ended, what was kept and when it was found, and what to do next."""
    valid = [record for record in run.history if record["split"] == "valid"]
    lines = [f"{'stopped early' if run.stopped == 'early' else run.stopped} after {_clock(run.seconds)}"]
    lines[0] += f", {run.steps:,} steps"
    if run.best:
        number = next(i for i, record in enumerate(valid, 1) if record["step"] == run.best["step"])
        if run.stopped == "early":
            lines[0] += f": no better validation in the last {len(valid) - number} evaluations"
        bits = f", {run.best['bits_per_dim']:.3f} bits/dim" if "bits_per_dim" in run.best else ""
        when = f"epoch {run.best['epoch']:.4g} (evaluation {number} of {len(valid)})"
        lines.append(f"best validation bound: {signed(run.best['bound'])} nats{bits}, at {when}")
    if run.stopped == "interrupted":
        return [*lines, f"next:    lowerbound train --resume --out {folder}"]
    shown = next((path for path in pictures if path.name == "samples.png"), None)
    lines += [] if shown is None else [f"samples: {shown}"]
    return [*lines, f"next:    lowerbound sample {folder}", f"or:      lowerbound evaluate {folder}"]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
