"""Train on the workers of a Ray cluster: `fit` as ever, with the group of processes started and kept alive by Ray.

The workers form one group that averages gradients, as under torchrun, and give the numbers that ``lowerbound.fit``
gives in as many processes. When a worker dies, all are started again and take the run up from its last checkpoint.
Ray is the extra ``cluster``.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, cast

from .data import Data, load
from .errors import ConfigError, DataError, LowerboundError, RunError
from .model import VAE
from .objectives import Objective
from .persistence import check_start, chosen, read_config
from .persistence import fit as fit_here
from .progress import progress_bar
from .training import Run, RunFolder, load_module, load_tensors
from .training.engine import LAUNCH, begun_by


@dataclass(frozen=True)
class _Job:
    """What travels to a worker.

    Attributes:
        launch: A name that this call shares with no other: by it a restarted worker knows the run for its own.
        directory: Where the caller stood; relative paths are meant from there.
        model: The model, with its initial weights.
        source: Where the data are read.
        options: Keyword arguments of ``load``.
        described: What the data must turn out to be: their spec, and the examples of each split.
        fit: Keyword arguments of ``lowerbound.fit``.
    """

    launch: str
    directory: str
    model: VAE
    source: str
    options: dict[str, Any]
    described: tuple[dict[str, Any], list[int]]
    fit: dict[str, Any]


def fit(
    model: VAE,
    data: Data,
    *,
    out: str | Path,
    workers: int = 2,
    restarts: int = 1,
    resources: Mapping[str, float] | None = None,
    objective: Objective | str | dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a model on the workers of a Ray cluster: of the one that RAY_ADDRESS names, else of this machine.

    The model travels to the workers; the data do not: each worker reads them from their source. So the source and
    ``out`` must lie where every machine finds them under the same path.

    Args:
        model: The model; gets the kept weights in place and is returned in ``run.model``.
        data: The data, from ``lowerbound.data.load`` of a name or a path.
        out: The run's folder, like that of ``lowerbound.fit``.
        workers: Processes; each takes ``batch_size / workers`` examples of a step.
        restarts: How often all workers are started again after one of them has failed.
        resources: What Ray reserves for each worker, for example ``{"CPU": 4}``, which then has as many threads. If
            not given, one CPU, and with ``device="cuda"`` one GPU.
        objective: As for ``lowerbound.fit``.
        resume: Continue the run in ``out``, with any number of workers.
        overwrite: Replace another run in ``out``.
        progress: Show on standard error how far the run is, with the last validation bound.
        **settings: Fields of ``Settings``; ``device`` "cuda" needs to exist on the workers only.

    Raises:
        ConfigError: Ray is not installed, an option is wrong, or this machine has fewer CPUs than workers.
        DataError: the data came from memory, or a worker finds others than these in their source.
        RunError: ``out`` holds another run, or workers died more often than ``restarts``.
        NonFiniteError: a NaN or Inf appeared.
    """
    ray = _import_ray()
    for name, value, least in (("workers", workers, 1), ("restarts", restarts, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name}={value!r} must be a whole number, at least {least}")
    if resume and overwrite:
        raise RunError("resume continues the run in out, overwrite replaces it; give one of them")
    folder = RunFolder(out)
    _check_source(data)
    # What each worker would refuse is refused here, before any is started; a resumed run they compare themselves.
    folder.check(resume=resume, overwrite=overwrite)
    if not resume:
        check_start(model, data, *chosen(model, data, objective, settings))
    job = _Job(
        launch=str(uuid.uuid4()),
        directory=os.getcwd(),
        model=model,
        source=data.spec.source,
        options=data.options,
        described=_described(data),
        fit={"objective": objective, "out": out, "resume": resume, "overwrite": overwrite, **settings},
    )
    gpu = str(settings.get("device", "auto")).startswith("cuda")
    with _connected(ray, workers, resources), _followed(folder, job.launch, progress):
        end = _run(job, workers, restarts, resources, gpu)
    load_module(model, load_tensors(folder.model)[0], str(folder.model))
    model.data_spec = data.spec
    return Run(model.eval(), folder.history(), folder=folder.path, **end)


def _import_ray() -> Any:
    try:
        import ray
        import ray.train.torch
    except ImportError:
        raise ConfigError("training on a cluster needs Ray: pip install 'lowerbound[cluster]'") from None
    return ray


def _check_source(data: Data) -> None:
    """Refuse data that a worker cannot read for itself."""
    what = "the workers of a cluster read the data themselves, but"
    if data.spec.source == "array":
        raise DataError(
            f"{what} these came from memory; write them (numpy.save, numpy.savez) where every machine finds them, "
            "and load that path"
        )
    entries = {entry.name for entry in data.spec.conditions or ()} - {"observed"}
    if extra := sorted(entries - set(data.options["condition"] or ())):
        raise DataError(
            f"{what} the condition {extra[0]!r} came from memory; write it into one .npz with the data, load that "
            "and name it in condition="
        )


def _described(data: Data) -> tuple[dict[str, Any], list[int]]:
    return data.spec.to_dict(), [len(split) for split in (data.train, data.valid, data.test)]


@contextmanager
def _connected(ray: Any, workers: int, resources: Mapping[str, float] | None) -> Iterator[None]:
    """Stay connected to a cluster; one that is made for this call alone ends with it."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unless asked for
    own = [path for path in sys.path if path and not path.startswith((sys.prefix, sys.base_prefix))]
    paths = os.pathsep.join([*own, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": paths}},  # where the caller's own slots are defined
    )
    try:
        there = ray.cluster_resources()
        if "RAY_ADDRESS" not in os.environ:  # another cluster may grow, this machine does not
            for name, each in ({"CPU": 1} | dict(resources or {})).items():
                if workers * each > there.get(name, 0):
                    raise ConfigError(
                        f"{workers} workers with {each:g} {name} each need more than the {there.get(name, 0):g} of "
                        "this machine; ask for fewer, or name a cluster in RAY_ADDRESS"
                    )
        yield
    finally:
        ray.shutdown()


@contextmanager
def _followed(folder: RunFolder, launch: str, shown: bool) -> Iterator[None]:
    """Show how far the run is, by what the first worker records; Ray would also print what its own parts say."""
    if not shown:
        yield
        return
    done = Event()

    def follow() -> None:
        told, over = 0.0, False
        with progress_bar("training", 1.0, shown=True, keep=True) as advance:
            while not over:
                over = done.wait(0.5)
                # Until the first worker has begun, what lies there is an older run.
                history = folder.history() if begun_by(folder) == launch else []
                if records := [record for record in history if record["split"] == "valid"]:
                    last, length = records[-1], read_config(folder.path)["training"]
                    share = last["seconds"] / 60 / length["minutes"] if length["minutes"] else 0.0
                    share = last["epoch"] / length["epochs"] if length["epochs"] else share
                    rate = f"{last['images_per_second']:,.0f}/s"
                    advance(
                        share - told, note=f"epoch {last['epoch']:.4g} · valid {last['bound']:.3f} · {rate}"
                    )
                    told = share

    follower = Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _run(
    job: _Job, workers: int, restarts: int, resources: Mapping[str, float] | None, gpu: bool
) -> dict[str, Any]:
    """Run the job on the workers and return how it ended."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    # Ray wants a folder that all machines share, for checkpoints of its own; ours are in the run's folder.
    parent, name = Path(job.fit["out"]).resolve().parent, f".ray-{job.launch}"
    each = dict(resources) if resources else None
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu, resources_per_worker=each),
        run_config=RunConfig(
            name=name, storage_path=str(parent), failure_config=FailureConfig(max_failures=restarts)
        ),
    )
    try:
        return cast(dict[str, Any], trainer.fit().return_value)
    except TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {}).values()
        causes = [getattr(failure, "_base_exc", failure) for failure in failures]
        ours = next((cause for cause in causes if isinstance(cause, LowerboundError)), None)
        raise ours or RunError(
            f"the workers failed more than restarts={restarts} times, last: {str(error).strip().splitlines()[-1]}; "
            f"continue the run with resume=True and out={str(job.fit['out'])!r}"
        ) from error
    finally:
        shutil.rmtree(parent / name, ignore_errors=True)


def _work(config: Mapping[str, _Job]) -> dict[str, Any]:
    """Train in one worker, which Ray has told its place in the group; return how the run ended."""
    job = config["job"]
    if not Path(job.directory).is_dir():
        raise RunError(
            f"{socket.gethostname()} has no folder {job.directory}; source and out of a run on a cluster must lie "
            "where every machine finds them under the same path"
        )
    os.chdir(job.directory)
    os.environ[LAUNCH] = job.launch
    data = load(job.source, **job.options)
    if _described(data) != job.described:
        raise DataError(
            f"{job.source} on {socket.gethostname()} holds other data than those given: {_described(data)[1]} "
            f"examples of train, valid and test there, {job.described[1]} here; give the same files, unchanged since "
            "they were loaded, with labels= as a path"
        )
    run = fit_here(job.model, data, progress=False, **job.fit)
    return {"best": run.best, "steps": run.steps, "seconds": run.seconds, "stopped": run.stopped}
