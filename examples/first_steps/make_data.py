"""Make small data to try the commands on: `python make_data.py table`, or photos, or robot."""

import csv
import json
import sys
from pathlib import Path

import numpy as np


def table(rows: int = 400) -> None:
    """customers.csv, as a shop would export it: words, dates, identifiers, gaps; new.csv has one strange customer."""
    rng = np.random.default_rng(0)
    wealth, loyal = rng.normal(size=(2, rows))
    days = np.datetime64("2021-03-01") + rng.integers(0, 900, rows)
    lines = [
        {
            "customer_id": f"C{1000 + i}",
            "age": "NA"
            if rng.random() < 0.08
            else int(np.clip(40 + 11 * wealth[i] + 3 * rng.normal(), 18, 90)),
            "income": f"{2400 + 600 * wealth[i] + 90 * rng.normal():.2f}",
            "plan": ""
            if rng.random() < 0.05
            else ("basic", "silver", "gold")[int(np.digitize(wealth[i], [0, 0.8]))],
            "active": "TRUE" if loyal[i] > -0.6 else "FALSE",
            "newsletter": "yes" if loyal[i] + 0.3 * rng.normal() > 0 else "no",
            "joined": "{2}.{1}.{0}".format(*str(days[i]).split("-")),
            "visits": rng.poisson(np.exp(1 + loyal[i] / 2)),
            "country": "DE",
        }
        for i in range(rows)
    ]
    _write("customers.csv", lines)
    strange = lines[3] | {"income": "99000.00", "plan": "basic"}
    _write("new.csv", [*lines[10:20], strange])


def _write(path: str, lines: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)


def photos(count: int = 500) -> None:
    """photos/: skies over land, in two folders by the time of day, of unlike sizes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        time = ("day", "evening")[i % 2]
        high, wide = rng.integers(48, 90, 2)
        y, x = np.mgrid[0 : 1 : high * 1j, 0 : wide / high : wide * 1j]
        ground = y > 0.6 + 0.15 * np.sin(3 * x + 6 * rng.random())
        sky = np.array([90, 150, 230] if time == "day" else [240, 130, 60]) * (1.1 - 0.4 * y[..., None])
        land = np.array([60, 120, 50]) * (0.6 + 0.8 * rng.random())
        sun = (x - rng.uniform(0.2, 0.8)) ** 2 + (y - rng.uniform(0.1, 0.4)) ** 2 < 0.008
        picture = np.where(ground[..., None], land, np.where(sun[..., None], 250, sky)) + rng.normal(
            0, 6, (high, wide, 1)
        )
        path = Path("photos", time, f"{i:03}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def robot() -> None:
    """arm.urdf, of two links, and boxes.json, what stands around it."""
    link = (
        '<link name="{}"><inertial><mass value="1"/>'
        '<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial><collision><origin xyz="{} 0 0"/>'
        '<geometry><box size="{} 0.06 0.06"/></geometry></collision></link>'
    )
    joint = (
        '<joint name="{}" type="revolute"><parent link="{}"/><child link="{}"/><origin xyz="{} 0 0"/><axis xyz="{}"/>'
        '<limit lower="-2.6" upper="2.6" effort="1" velocity="1"/></joint>'
    )
    parts = [
        link.format("base", 0, 0.05),
        joint.format("turn", "base", "upper", 0, "0 0 1"),
        link.format("upper", 0.2, 0.4),
        joint.format("elbow", "upper", "lower", 0.4, "0 1 0"),
        link.format("lower", 0.2, 0.4),
    ]
    Path("arm.urdf").write_text(f'<robot name="arm">{"".join(parts)}</robot>\n')
    boxes = [{"position": [0.45, 0.35, 0.1], "size": [0.1, 0.1, 0.9]}]
    cylinders = [{"position": [0.4, -0.4, 0.1], "radius": 0.05, "height": 0.8}]
    Path("boxes.json").write_text(json.dumps({"boxes": boxes, "cylinders": cylinders, "floor": -0.5}))


if __name__ == "__main__":
    {"table": table, "photos": photos, "robot": robot}[sys.argv[1]]()
