#!/usr/bin/env bash
# A robot arm from a URDF file: its problems, a learned sampler, states for a planner, the sampler as an ONNX graph.
set -euo pipefail
python "$(dirname "$0")/make_data.py" robot

lowerbound plan demo narrow --problems 30

lowerbound plan new arm.urdf --scene boxes.json
lowerbound plan make-data family.py -n 60 --out arm.npz
lowerbound plan train arm.npz --out runs/arm --epochs 3
lowerbound plan benchmark runs/arm --problems 5 --samples 25,50 --out success.png
lowerbound plan sample runs/arm -n 200 --out states.png
lowerbound plan export runs/arm --out arm.onnx
