#!/usr/bin/env bash
# Every method with and without ALASCA on the same files of noisy labels. Usage: run.sh OUTPUT_FOLDER [PARALLEL_RUNS]
# Finished runs are skipped, so that the script can be started again. EXPERIMENT=methods_digits uses the digits;
# METHODS="ce elr", NOISES=human and ALASCAS=none select runs. Needs CIFAR-10 and CIFAR-10N in $ALASCA_DATA, except for the digits.
set -euo pipefail
out=$1 parallel=${2:-2}
experiment=${EXPERIMENT:-methods_small}
[ "$experiment" = methods_digits ] && noises=symmetric || noises="symmetric human"
noises=${NOISES:-$noises}
# crust-rowsum: the selection rule of the authors' code, see CrustSelector.
methods=${METHODS:-ce co_teaching fine f_coteaching crust crust-rowsum dividemix elr_plus elr gce sce har cdr byot}
mkdir -p "$out"
export OMP_NUM_THREADS=1

declare -A kinds=([symmetric]="noise=symmetric" [human]="noise=human noise.labels=worst")
# Schedules for about 1,200 steps instead of 120 to 300 epochs; cross-entropy is at its best after 7 epochs of CIFAR-10 here, or
# after 2 of the digits.
declare -A short=(
  [ce]="" [gce]="" [sce]="" [elr]="" [byot]="" [har]=""
  [cdr]="gradient_transform.estimate_epoch=4"
  [co_teaching]="selector.estimate_epoch=4 selector.ramp_epochs=8"
  [fine]="selector.warmup_epochs=6 selector.every=4"
  [f_coteaching]="selector.warmup_epochs=6 selector.every=4"
  [crust]="selector.warmup_epochs=4 mixer.start_epoch=5"
  [crust-rowsum]="selector.warmup_epochs=4 mixer.start_epoch=5 selector.greedy=top_rowsum"
  [dividemix]="selector.warmup_epochs=5 step.ramp_epochs=8"
  [elr_plus]="teacher.ramp_steps=600"
)
same="experiment=$experiment callbacks=quiet"

for noise in $noises; do
  file=$out/$noise.npz
  [ -e "$file" ] || alasca-noise make experiment="$experiment" ${kinds[$noise]} output="$file" >"$out/$noise.txt"
  for method in $methods; do
    for with in ${ALASCAS:-none short}; do
      run=$out/$noise/$method/$with
      grep -q '"status": "finished"' "$run/record.json" 2>/dev/null && continue
      # An unfinished run is kept under another name.
      [ -e "$run" ] && mv "$run" "$run.unfinished.$(date +%s)"
      log=$out/${noise}_${method}_$with
      # Other work disturbs CPU time less than wall-clock time.
      echo "TIMEFORMAT='%U %S'; { time alasca-train $same noise=from_file noise.path='$file' method=${method%-*}" \
        "${short[$method]} alasca=$with hydra.run.dir='$run' >'$log.log' 2>&1 || echo 'failed: $noise $method $with'; }" \
        "2>'$log.cpu'"
    done
  done
done | xargs -d '\n' -P "$parallel" -I{} bash -c '{}'
