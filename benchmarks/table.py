"""Write the tables of the README and of the documentation, and their charts, from the result files.

    python benchmarks/table.py

The text between ``<!-- benchmarks:begin -->`` and ``<!-- benchmarks:end -->`` is replaced. ``headlines.toml`` says
what is shown where, and what was published.
"""

from __future__ import annotations

import io
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import ROOT, results
from matplotlib.figure import Figure

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
HEADLINES = tomllib.loads((Path(__file__).parent / "headlines.toml").read_text())
ROWS = [row for told in HEADLINES["table"] for row in told["row"]]
PUBLISHED = {(row["benchmark"], row["metric"]): row["published"] for row in ROWS if "published" in row}


def table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    head, *body = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return [head, "|---" * len(columns) + "|", *body]


def number(value: float) -> str:
    """Return a number with the digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 10 else f"{value:.2f}"


def spread(result: dict[str, Any], metric: str) -> str:
    """Return the lowest and the highest value over the seeds or rounds, if there are several."""
    interval = result["intervals"].get(metric)
    several = len(result["seeds"]) > 1 or result["protocol"].get("rounds", 1) > 1
    return f"{number(interval[0])} to {number(interval[1])}" if interval and several else ""


def rows_of(rows: Iterable[Mapping[str, Any]], by_name: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of a headline table: words, value, spread, published, when and where it was measured."""
    made = []
    for row in rows:
        result = by_name.get(row["benchmark"], {"metrics": {}})
        if "words" in row and row["metric"] in result["metrics"]:
            value = number(result["metrics"][row["metric"]])
            cells = [
                row["words"],
                value,
                spread(result, row["metric"]),
                row.get("published", ""),
                where(result),
            ]
            made.append(cells)
    return made


def where(result: Mapping[str, Any]) -> str:
    return f"{result['date']}, {result['hardware'].replace('(R)', '')}"


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Return the README's rows as a Markdown table."""
    by_name = {result["name"]: result for result in results}
    rows = []
    for row in ROWS:
        result = by_name.get(row["benchmark"], {"metrics": {}})
        if "readme" in row and row["metric"] in result["metrics"]:
            others = row["others"].format_map(
                {key: number(value) for key, value in result["metrics"].items()}
            )
            rows.append([row["readme"], number(result["metrics"][row["metric"]]), others, where(result)])
    return "\n".join(table(["", "here", "others", "measured"], rows))


def overview(results: Sequence[dict[str, Any]]) -> str:
    """Return the headline tables, each with its chart, as Markdown."""
    by_name = {result["name"]: result for result in results}
    columns = [
        "what",
        "value",
        "lowest to highest",
        "published",
        "measured",
    ]
    parts = []
    for told in HEADLINES["table"]:
        parts += [f"## {told['title']}", f"![{told['label']}](images/benchmark_{told['chart']}.png)"]
        parts.append("\n".join(table(columns, rows_of(told["row"], by_name))))
    return "\n\n".join(parts)


def chart(told: Mapping[str, Any], by_name: Mapping[str, Any]) -> bytes:
    """Return a headline table's bars as a PNG; published numbers are grey."""
    bars = []
    for bar in told["bars"]:
        value = bar.get(
            "value", by_name.get(bar.get("benchmark"), {"metrics": {}})["metrics"].get(bar.get("metric"))
        )
        if value is not None:
            bars.append((bar["words"], value, "value" not in bar))
    words, values, measured = zip(*bars, strict=True)
    figure = Figure(figsize=(7, 0.75 + 0.32 * len(bars)), layout="constrained")
    ax = figure.add_subplot()
    places = range(len(bars))
    colors = ["#2f6fab" if ours else "#b6bbc3" for ours in measured]
    if told["start"]:  # bars that do not begin at zero would exaggerate
        ax.scatter(values, places, color=colors, s=50, zorder=2)
        ax.grid(axis="x", color="#e3e5e8")
    else:
        ax.barh(places, values, 0.7, color=colors)
    for place, value in zip(places, values, strict=True):
        ax.annotate(
            number(value), (value, place), (7, 0), textcoords="offset points", va="center", fontsize=9
        )
    ax.set_yticks(places, words)
    ax.invert_yaxis()
    ax.set_xlim(told["start"], told["start"] + 1.12 * (max(values) - told["start"]))
    ax.set_title(told["label"], loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def section(result: dict[str, Any]) -> str:
    """Return all of one result as Markdown: its metrics, then its protocol."""
    name, seeds = result["name"], result["seeds"]
    rows = [
        (f"`{metric}`", number(value), spread(result, metric), PUBLISHED.get((name, metric), ""))
        for metric, value in result["metrics"].items()
    ]
    words = [f"- {key}: {text}" for key, text in result["protocol"].items() if not isinstance(text, dict)]
    lines = [
        f"### {name}",
        "",
        f"{result['date']}, {result['hardware']}, torch {result['versions']['torch']}, "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}, commit {result['commit'][:10]}",
        "",
        *table(["quantity", "value", "lowest to highest", "published"], rows),
        "",
        *words,
    ]
    for key, told in result["protocol"].items():
        if isinstance(told, dict):
            lines += nested(key, told)
    return "\n".join(lines)


def nested(title: str, told: dict[str, Any]) -> list[str]:
    """Return what a protocol tells as a table: curves of success, or numbers by the number of samples."""
    rows: dict[str, dict[str, str]] = {}
    lines: list[str] = []
    plain: list[str] = []
    for name, value in told.items():
        if isinstance(value, list):
            rows[name] = {
                str(p["n"]): f"{p['success']:.3f} ({p['low']:.2f} to {p['high']:.2f})" for p in value
            }
        elif isinstance(value, dict) and all(isinstance(v, int | float | None) for v in value.values()):
            rows[name] = {str(k): "" if v is None else number(v) for k, v in value.items()}
        elif isinstance(value, dict):
            lines += nested(f"{title}, {name}", value)
        else:
            shown = "none" if value is None else value if isinstance(value, str) else number(value)
            plain.append(f"- {title}, {name}: {shown}")
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if all(column.isdigit() for column in columns):
        columns.sort(key=int)
    if rows:
        cells = ([name, *(row.get(column, "") for column in columns)] for name, row in rows.items())
        lines = ["", *table([title.replace("_", " "), *columns], cells), *lines]
    return [*lines, "", *plain] if plain else lines


def pages() -> dict[Path, str]:
    """Return the pages as the result files have them."""
    made = {}
    texts = {
        "README.md": summary(results()),
        "docs/benchmarks.md": overview(results()),
        "docs/benchmarks-all.md": "\n\n".join(map(section, results())),
    }
    for name, text in texts.items():
        head, rest = (ROOT / name).read_text().split(BEGIN, 1)
        made[ROOT / name] = f"{head}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}"
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
    measured = {result["name"]: result for result in results()}
    for told in HEADLINES["table"]:
        (ROOT / "docs" / "images" / f"benchmark_{told['chart']}.png").write_bytes(chart(told, measured))
