#!/usr/bin/env bash
# A table of customers with words, dates, identifiers and gaps: synthetic rows, scores, embeddings, filled gaps.
set -euo pipefail
python "$(dirname "$0")/make_data.py" table

lowerbound inspect customers.csv
lowerbound train customers.csv --epochs 30
lowerbound sample runs/customers -n 1000 --out synthetic.csv
lowerbound score runs/customers new.csv --out scores.csv
lowerbound encode runs/customers --split all --out embeddings.csv
lowerbound complete runs/customers customers.csv --out filled.csv
lowerbound report runs/customers
