#!/bin/sh
# What decisions are worth: labels of CIFAR-10N worst, corrected without a person and by a simulated reviewer, and plain cross-entropy
# trained on them. Run it where the sweep audit_small was run; what exists is not made again.
#   DATA=FOLDER_OF_CIFAR10 experiments/audit_small/retrain.sh [OPTIONS OF THE SWEEP]
set -eu
: "${DATA:?the folder of cifar10.npz and CIFAR-10_human.pt}"
for seed in 0 1 2; do
  run=$(python - "$seed" <<'PY'
import sys
import alasca_pl
from alasca_pl.report.keys import value_of
wanted = {"setting": "human", "alasca": "paper", "seed": int(sys.argv[1])}
(run,) = [run for run in alasca_pl.load_runs("audit_small") if all(value_of(run, key) == value for key, value in wanted.items())]
print(run.folder)
PY
  )
  to=corrected/seed$seed
  [ -e "$run/audit/audit.npz" ] || alasca-audit "$run" data.root="$DATA"
  mkdir -p "$to"
  for name in relabelled clean; do
    [ -e "$to/$name.npz" ] || cp "$run/audit/$name.npz" "$to/"
  done
  for name in after_50 after_100 after_200 after_500 after_1000 random_200 random_1000; do
    by=rank
    case $name in random_*) by=random ;; esac
    decided=$to/$name.csv
    [ -e "$decided" ] || alasca-audit simulate "$run" decisions="${name#*_}" by=$by output="$decided" data.root="$DATA"
    [ -e "$to/$name.npz" ] || alasca-audit apply "$decided" "$run" output="$to/$name" data.root="$DATA"
  done
done
alasca-train -m experiment=audit_retrain sweep=audit_retrain "$@"
