#!/usr/bin/env bash
# A folder of 500 photos of unlike sizes: new ones, the way between two, an embedding, the strangest ones.
set -euo pipefail
python "$(dirname "$0")/make_data.py" photos

lowerbound inspect photos
lowerbound train photos --image-size 32 --epochs 20
lowerbound sample runs/photos -n 16 --out new.png
lowerbound reconstruct runs/photos
lowerbound interpolate runs/photos -n 4
lowerbound encode runs/photos --split all --out embeddings.csv
lowerbound score runs/photos --samples 10 --out scores.csv
lowerbound report runs/photos
