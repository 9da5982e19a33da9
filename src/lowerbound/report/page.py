"""A run on one page: one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .. import __version__
from ..data import Data
from ..display import digits_of, signed
from ..errors import RunError
from ..model import VAE
from ..training import write_atomically
from .charts import DPI
from .views import View, notation, views

_CSS_DPI = 96

_SECTIONS = (
    ("samples", "Samples"),
    ("numbers", "Evaluation"),
    ("curves", "Training"),
    ("conditions", "Samples by condition"),
    ("correlations", "Associations of columns"),
    ("conversions", "Conversions"),
    ("completions", "Completions"),
    ("reconstructions", "Reconstructions"),
    ("missing", "Empty cells"),
    ("odd", "Odd rows"),
    ("interpolations", "Interpolations"),
    ("latent", "Latent map"),
    ("latent_grid", "Decoded latent grid"),
    ("traversals", "Latent traversals"),
    ("kl", "Latent dimensions"),
)
_ABSENT = {
    "curves": "No evaluation was recorded in training.",
    "kl": "There is no KL of each dimension: the posterior or the prior does not factorise.",
}

# Key, name, what it is; {samples} and {proposal} stand for the number of importance samples and their source.
_QUANTITIES = (
    (
        "nll",
        "log p(x)",
        "log p(x), estimated with {samples} importance samples from {proposal}; higher is better",
    ),
    (
        "posterior_nll",
        "log p(x), samples from q",
        "the same with {samples} importance samples from q(z | x), as it is published",
    ),
    ("bits_per_dim", "Bits per dimension", "−log p(x) in bits, per value of an example; lower is better"),
    ("elbo", "ELBO", "reconstruction minus KL, a lower bound on log p(x); higher is better"),
    ("reconstruction", "Reconstruction", "mean of log p(x | z) over q(z | x)"),
    ("kl", "KL", "KL(q(z | x) ‖ p(z)), what a code tells of its example"),
    ("error", "Classification error", "share of the examples whose label q(y | x) gets wrong"),
    ("active_units", "Active units", "latent dimensions whose posterior mean changes with x"),
    (
        "ess_median",
        "Effective samples",
        "effective number of the importance samples, median over the examples",
    ),
    ("khat_share_bad", "k-hat above 0.7", "share of the examples whose importance weights cannot be trusted"),
    (
        "naive_nll",
        "log p(x), naive estimator",
        "with z from the prior instead of q(z | x): too low, the more so the larger the KL. For comparison only; "
        "the model's log p(x) is the first line",
    ),
)
_NATS = ("nll", "elbo", "reconstruction", "kl", "posterior_nll", "naive_nll")
_NEGATIVE = (
    "nll",
    "posterior_nll",
    "naive_nll",
)  # kept as −log p(x), told as log p(x): one sign in all places
_OUT_OF = {"active_units": "latent", "ess_median": "samples"}
_PROTOCOL = (
    ("split", "Split"),
    ("n", "Examples"),
    ("naive_n", "Examples, naive estimator"),
    ("samples", "Importance samples"),
    ("proposal", "Proposal"),
    ("proposal_reason", "Why no tighter one"),
    ("condition", "Condition"),
    ("given", "Given of x itself"),
    ("scored", "Values scored"),
    ("binarize", "Binarisation"),
    ("seed", "Seed"),
    ("precision", "Precision"),
    ("units", "Unit"),
    ("seconds", "Time"),
)
_ELSEWHERE = {"warnings", "kl_per_dimension", "latent", "verdict", "reason"}
_LISTS = {"warnings": str, "condition": str, "kl_per_dimension": (int, float)}


def read_numbers(path: Path) -> dict[str, Any] | None:
    """Return what ``lowerbound evaluate`` has written to evaluation.json, None if it has not.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
        damaged = None if isinstance(numbers, dict) else "it holds no table"
    except (ValueError, RecursionError) as error:
        numbers, damaged = {}, str(error)
    if damaged is None:
        damaged = next(
            (f"{key} is {value!r:.60}" for key, value in numbers.items() if not _fits(key, value)), None
        )
    if damaged is not None:
        raise RunError(f"{path} is damaged and left out ({damaged}); `lowerbound evaluate` writes it again")
    return numbers


def _fits(key: str, value: Any) -> bool:
    """Return whether a number of an evaluation is of the type it has there."""
    if value is None:
        return True
    if key in _LISTS:
        return isinstance(value, list) and all(isinstance(part, _LISTS[key]) for part in value)
    counted = {name for name, *_ in _QUANTITIES} | {"seconds", "samples", "latent", "n"}
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    return key.removesuffix("_stderr") not in counted or is_number


def write_report(
    path: str | Path,
    *,
    title: str,
    model: VAE,
    data: Data,
    history: Sequence[Mapping[str, Any]],
    numbers: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    seed: int = 0,
) -> Path:
    """Write the page of a run: its numbers with their protocol, its pictures, its configuration.

    Equal arguments give equal bytes.

    Args:
        path: The HTML file.
        title: Of the page.
        model: The model; its mode is left as it was, and so is torch's global generator.
        data: The data it was trained on.
        history: Records of ``metrics.jsonl``; may be empty.
        numbers: What ``lowerbound evaluate`` gives; any of them may be missing. None if nothing was evaluated.
        config: The resolved configuration.
        seed: Of all draws, and of the choice of examples.

    Returns:
        The path.
    """
    path = Path(path)
    write = notation(model)
    shown = {view.name: _figure(view) for view in views(model, data, history, numbers, seed)}
    shown["numbers"] = numbers_table(numbers, write)
    sections = [
        _section(name, heading, shown.get(name) or f"<p>{_ABSENT[name]}</p>")
        for name, heading in _SECTIONS
        if name in shown or name in _ABSENT
    ]
    text = json.dumps(config, indent=2, ensure_ascii=False, default=str)
    sections.append(
        _section(
            "config",
            "Configuration",
            f"<details><summary>All options</summary><pre>{escape(text)}</pre></details>",
        )
    )
    page = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        verdict=_verdict(numbers or {}, write),
        summary=_prose(write(_summary(model, data, history))),
        sections="\n".join(sections),
        footer=escape(f"lowerbound {__version__}"),
    )
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def _section(name: str, heading: str, body: str) -> str:
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{body}\n</section>'


def _figure(view: View) -> str:
    """Return the picture as HTML, its bytes inlined, or the table."""
    lead = f'<p class="lead">{escape(view.lead)}</p>\n' if view.lead else ""
    if view.table:
        head, *rows = (
            "<tr>" + "".join(f"<{kind}>{_prose(word)}</{kind}>" for word in row) + "</tr>"
            for row, kind in zip(view.table, ["th", *["td"] * len(view.table)], strict=False)
        )
        body = "\n".join(rows)
        caption = f'<p class="note">{_prose(view.caption)}</p>'
        return f"{lead}<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n{caption}"
    width, height = struct.unpack(">II", view.png[16:24])  # the header of a PNG
    scale = _CSS_DPI / DPI if view.chart else 1
    kind = ' class="chart"' if view.chart else ""
    picture = (
        f'<img{kind} src="{_inline(view.png)}" alt="{escape(view.alt)}" '
        f'width="{round(width * scale)}" height="{round(height * scale)}">'
    )
    if view.narrow is not None:
        source = _inline(view.narrow())
        picture = (
            f'<picture><source media="screen and (max-width: 40rem)" srcset="{source}">{picture}</picture>'
        )
    return f"{lead}<figure>\n{picture}\n<figcaption>{_prose(view.caption)}</figcaption>\n</figure>"


def _prose(text: str) -> str:
    """Return text as HTML in which no line ends within p(...) or q(...)."""
    return re.sub(r"\b[pq]\([^()]*\)", r'<span class="formula">\g<0></span>', escape(text))


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _summary(model: VAE, data: Data, history: Sequence[Mapping[str, Any]]) -> str:
    """Return what the model is, what it was trained on and for how long, in one paragraph."""

    def slot(name: str) -> str:
        return type(getattr(model, name)).__name__

    spec = data.spec
    shape = " × ".join(map(str, model.latent_shape))
    parameters = sum(p.numel() for p in model.parameters())
    values = {
        "mixed": "columns of several kinds",
        "binary": "binary values",
        "unit": "values in [0, 1]",
        "real": "real values",
        "count": "counts",
        "categorical": f"categories 0 to {(spec.categories or 1) - 1}",
    }[spec.values]
    if spec.binarize != "none":
        values += f" ({spec.binarize} binarisation)"
    if spec.levels is not None:
        values += f" (dequantised from {spec.levels} levels)"
    if spec.kind == "image":
        what = f"images of {' × '.join(map(str, spec.event_shape))} {values}"
    else:
        what = f"vectors of {spec.event_shape[0]} {values}"
    kind = "variational autoencoder" if model.condition is None else "conditional variational autoencoder"
    text = (
        f"A {kind} with {shape} latent dimension{'' if shape == '1' else 's'} and {parameters:,} "
        f"parameters: posterior q(z | x) {slot('posterior')} with encoder {slot('encoder')}, prior p(z) "
        f"{slot('prior')}, likelihood p(x | z) {slot('likelihood')} with decoder {slot('decoder')}. "
        f"Data: {spec.source}, {what}; {len(data.train):,} training, {len(data.valid):,} validation and "
        f"{len(data.test):,} test examples."
    )
    if spec.conditions:
        text += f" Condition c: {', '.join(map(str, spec.conditions))}."
    if history:
        last = history[-1]
        text += (
            f" Trained for {last['epoch']:,.4g} epochs, {last['step']:,} steps, {_duration(last['seconds'])}."
        )
    return text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} seconds" if seconds < 10 else f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def numbers_table(numbers: Mapping[str, Any] | None, write: Callable[[str], str] = str) -> str:
    """Return the table of an evaluation's numbers and their protocol as HTML; see ``write_report``.

    Args:
        numbers: What ``lowerbound evaluate`` gives.
        write: Writes the formulas that say what they are.
    """
    if numbers is None:
        return "<p>The model has not been evaluated. <code>lowerbound evaluate RUN</code> produces the numbers.</p>"
    given = {key: value for key, value in numbers.items() if value is not None}
    samples, proposal = _value(given.get("samples", "some")), str(given.get("proposal", "posterior"))
    proposal = "q(z | x)" if proposal == "posterior" else f"the proposal {escape(proposal)}"
    rows = []
    for key, name, meaning in _QUANTITIES:
        if key in given or (key == "nll" and key in numbers):  # a log p(x) that is not finite is worth a line
            kind = {"nll": ' class="first"', "naive_nll": ' class="aside"'}.get(key, "")
            rows.append(
                f'<tr{kind}><th scope="row">{name}</th><td class="value">{escape(_quantity(key, given))}</td>'
                f"<td>{_prose(write(meaning.format(samples=samples, proposal=proposal)))}</td></tr>"
            )
    named = {key for key, *_ in (*_QUANTITIES, *_PROTOCOL)} | _ELSEWHERE
    if isinstance(given.get("seconds"), int | float):
        given["seconds"] = _duration(given["seconds"])
    if isinstance(given.get("condition"), list):
        given["condition"] = ", ".join(given["condition"])
    entries = [(name, given[key]) for key, name in _PROTOCOL if key in given]
    entries += [(k, v) for k, v in given.items() if k not in named and k.removesuffix("_stderr") not in named]
    protocol = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(_value(value))}</dd></div>" for name, value in entries
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Quantity", "Value", "What it is"))
    return (
        f"{_warnings(given.get('warnings', ()))}<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody>\n</table>\n"
        '<p class="note">±: standard error of the mean over the examples.</p>\n'
        f'<dl class="protocol">{protocol}</dl>'
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(str(warning))}</li>" for warning in warnings)
    return f'<div class="warning" role="note"><strong>Read these numbers with care</strong><ul>{items}</ul></div>\n'


def _verdict(numbers: Mapping[str, Any], write: Callable[[str], str]) -> str:
    """Return log p(x) and how far it can be trusted, as HTML; nothing for evaluations that do not say it."""
    if "verdict" not in numbers:
        return ""
    value = _prose(f"{write('log p(x)')} = {_quantity('nll', numbers)}; ")
    word, reason = (escape(str(numbers.get(key, ""))) for key in ("verdict", "reason"))
    return f'<p class="verdict">{value}<strong>{word}</strong>: {reason}</p>'


def _quantity(key: str, numbers: Mapping[str, Any]) -> str:
    """Return one number with its standard error and unit."""
    value, error = numbers.get(key), numbers.get(f"{key}_stderr")
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "not finite"
    if not isinstance(value, int | float):
        return _value(value)
    if key == "khat_share_bad":
        return f"{value:.1%}"
    if key in _OUT_OF:
        total = f" of {_value(numbers[_OUT_OF[key]])}" if numbers.get(_OUT_OF[key]) is not None else ""
        return f"{round(value):,}{total}"
    value = -value if key in _NEGATIVE else value
    known = error is not None and math.isfinite(error) and error > 0
    digits = digits_of([error or 0.0]) if known else 4 if key == "bits_per_dim" else 2
    text = signed(value, digits, error if known else None)
    return f"{text} {numbers.get('units', 'nats')}" if key in _NATS else text


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value, default=str)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
