#!/usr/bin/env bash
# Digits: a bound and log p(x) as papers give it, two models on the same examples, a sweep.
set -euo pipefail

lowerbound train digits --epochs 10 --out runs/vae
lowerbound train digits --preset iwae --epochs 10 --out runs/iwae
lowerbound evaluate runs/vae
lowerbound evaluate runs/vae --samples 5000 --all --json > nll.json
lowerbound compare runs/vae runs/iwae --latex > table.tex
lowerbound compare runs/vae runs/iwae --out compare.png
lowerbound sweep digits --set objective.beta=1,4 --epochs 3 --out runs/sweep
lowerbound report runs/vae
