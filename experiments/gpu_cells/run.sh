#!/bin/sh
# Cross-entropy with and without ALASCA as in the paper (CIFAR-10, symmetric 50 %, ResNet-34, 120 epochs), on one GPU and within
# a number of minutes. What is not finished then is kept: the same line goes on with it.
#   MINUTES=13 experiments/gpu_cells/run.sh [OPTIONS OF THE SWEEP]
set -eu
minutes=${MINUTES:-13}
ended=0
timeout --signal=TERM --kill-after=90 "${minutes}m" alasca-train -m experiment=gpu_cells sweep=gpu_cells "$@" || ended=$?
case $ended in
  0) alasca-report gpu_cells rows=method,alasca cols=setting ;;
  124) echo "the $minutes minutes are over; the same line goes on from the last checkpoints"; alasca-sweep status gpu_cells ;;
  *) exit "$ended" ;;
esac
