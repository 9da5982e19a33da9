"""Write the tables of the README and of the documentation from the result files.

    python benchmarks/table.py

The text between ``<!-- benchmarks:begin -->`` and ``<!-- benchmarks:end -->`` is replaced. ``headlines.toml`` says
what the README shows, and what was published.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common import ROOT, results

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
HEADLINES = tomllib.loads((Path(__file__).parent / "headlines.toml").read_text())
PUBLISHED = {
    (row["benchmark"], row["metric"]): row["published"] for row in HEADLINES["quality"] if "published" in row
}


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


def headlines(kind: str, by_name: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return the README's rows of one kind: words, value, spread, when and where it was measured, published."""
    rows = []
    for row in HEADLINES[kind]:
        name, metric = row["benchmark"], row["metric"]
        result = by_name.get(name, {"metrics": {}})
        if "words" in row and metric in result["metrics"]:
            value, measured = number(result["metrics"][metric]), f"{result['date']}, {result['hardware']}"
            rows.append([row["words"], value, spread(result, metric), measured, row.get("published", "")])
    return rows


def summary(results: list[dict[str, Any]]) -> str:
    """Return the headlines of all results as Markdown tables: of quality, and of speed."""
    by_name = {result["name"]: result for result in results}
    cells = ["value", "lowest to highest", "measured"]
    quality = table(["test split, mean over the seeds", *cells, "published"], headlines("quality", by_name))
    speed = table(["speed, median", *cells], (row[:-1] for row in headlines("speed", by_name)))
    return "\n".join([*quality, "", *speed])


def section(result: dict[str, Any]) -> str:
    """Return all of one result as Markdown: its metrics, then its protocol."""
    name, seeds = result["name"], result["seeds"]
    rows = [
        (f"`{metric}`", number(value), spread(result, metric), PUBLISHED.get((name, metric), ""))
        for metric, value in result["metrics"].items()
    ]
    words = [f"- {key}: {text}" for key, text in result["protocol"].items() if not isinstance(text, dict)]
    lines = [
        f"**{name}**: {result['date']}, {result['hardware']}, torch {result['versions']['torch']}, "
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
            plain.append(f"- {title}, {name}: {'none' if value is None else number(value)}")
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
    texts = {"README.md": summary(results()), "docs/benchmarks.md": "\n\n".join(map(section, results()))}
    for name, text in texts.items():
        head, rest = (ROOT / name).read_text().split(BEGIN, 1)
        made[ROOT / name] = f"{head}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}"
    return made


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
