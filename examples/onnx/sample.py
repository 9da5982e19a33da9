"""States for a planner out of an ONNX graph: onnxruntime and NumPy alone, neither lowerbound nor torch.

    lowerbound plan export runs/narrow --out narrow.onnx
    python sample.py narrow.onnx problem.txt 100 > states.csv

A problem is a text file: lines "start x y", "goal x y" and, for every wall, "wall x0 y0 x1 y1", in the unit square.
`sample.cpp` is the same program in C++.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


def read_problem(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start (2,), goal (2,) and walls (M, 4): x0, y0, x1, y1."""
    found: dict[str, list[list[float]]] = {"start": [], "goal": [], "wall": []}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                word, *numbers = line.split()
                found[word].append([float(number) for number in numbers])
    return np.array(found["start"][0]), np.array(found["goal"][0]), np.array(found["wall"]).reshape(-1, 4)


def grid(start: np.ndarray, goal: np.ndarray, walls: np.ndarray, size: int) -> np.ndarray:
    """Return what the model sees, (3, size, size), 0 to 1: row i is y, column j is x.

    A cell is occupied where its centre lies in a wall; start and goal are bumps of a standard deviation of two cells.
    All is rounded to whole 255ths, as the training set stores bytes.
    """
    centre = (np.arange(size) + 0.5) / size
    x, y = centre[None, :], centre[:, None]
    image = np.zeros((3, size, size))
    for x0, y0, x1, y1 in walls:
        image[0][(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)] = 1.0
    for channel, point in ((1, start), (2, goal)):
        across, along = (np.exp(-0.5 * ((centre - p) * size / 2) ** 2) for p in point)
        image[channel] = along[:, None] * across
    return (np.rint(255 * image) / 255).astype(np.float32)


def halton(n: int, dimensions: int) -> np.ndarray:
    """Return the points 1 to n of the Halton sequence, (n, dimensions): evenly spread in the unit cube."""
    points = np.zeros((n, dimensions))
    for d, base in enumerate(PRIMES[:dimensions]):
        for i in range(n):
            left, digit = i + 1, 1.0
            while left:
                digit /= base
                points[i, d] += digit * (left % base)
                left //= base
    return points.astype(np.float32)


def main(graph: str, problem: str, n: int) -> np.ndarray:
    """Return n states (n, 2) for a problem."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    start, goal, walls = read_problem(problem)
    size = session.get_inputs()[-1].shape[-1]  # the grid comes last
    inputs = {
        "u": halton(n, int(told["uniforms"])),
        "start": start[None].astype(np.float32),
        "goal": goal[None].astype(np.float32),
        "grid": grid(start, goal, walls, size)[None],
    }
    (states,) = session.run(["states"], inputs)
    # What lies beyond a limit of the square is mirrored at it.
    along = states % 2
    return np.where((states >= 0) & (states <= 1), states, np.minimum(along, 2 - along))


if __name__ == "__main__":
    print("q0,q1")
    for state in main(sys.argv[1], sys.argv[2], int(sys.argv[3])):
        print(",".join(f"{value:.9g}" for value in state))
