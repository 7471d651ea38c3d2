#!/usr/bin/env bash
# Every method with and without ALASCA on two files of wrong labels. Usage: run.sh OUTPUT_FOLDER [PARALLEL_RUNS]
# Finished runs are left alone, so that the script can be started again. METHODS="ce elr" and NOISES=human
# name some. Needs CIFAR-10 and CIFAR-10N in $ALASCA_DATA.
set -euo pipefail
out=$1 parallel=${2:-2}
methods=${METHODS:-ce co_teaching fine crust dividemix elr_plus har cdr byot f_coteaching gce sce elr uls als als_ema}
mkdir -p "$out"
export OMP_NUM_THREADS=1

# Schedules for 16 epochs instead of 120 to 300.
declare -A short=(
  [ce]="" [uls]="" [als]="criterion.ramp_epochs=10" [als_ema]="criterion.ramp_epochs=10"
  [gce]="" [sce]="" [elr]="" [byot]="" [har]=""
  [cdr]="gradient_transform.estimate_epoch=4"
  [co_teaching]="selector.estimate_epoch=4 selector.ramp_epochs=5"
  [fine]="selector.warmup_epochs=5 selector.every=3"
  [f_coteaching]="selector.warmup_epochs=5 selector.every=4"
  [crust]="selector.warmup_epochs=3 mixer.start_epoch=4"
  [dividemix]="selector.warmup_epochs=5 step.ramp_epochs=6"
  [elr_plus]="teacher.ramp_steps=300"
)
alasca="alasca=short regularizers.alasca.ramp_epochs=4"
same="experiment=methods_small callbacks=quiet"

for noise in "symmetric" "human noise.labels=worst"; do
  file=$out/${noise%% *}.npz
  [ -e "$file" ] || alasca-noise make experiment=methods_small noise=$noise output="$file" >"${file%.npz}.txt"
done
for noise in ${NOISES:-symmetric human}; do
  for method in $methods; do
    for with in none alasca; do
      run=$out/$noise/$method/$with
      [ "$with" = none ] && extra="" || extra=$alasca
      grep -q '"status": "finished"' "$run/record.json" 2>/dev/null && continue
      # What an interruption left is kept, under another name.
      [ -e "$run" ] && mv "$run" "$run.unfinished.$(date +%s)"
      echo "alasca-train $same noise=from_file noise.path='$out/$noise.npz' method=$method ${short[$method]} $extra" \
        "hydra.run.dir='$run' >'$out/${noise}_${method}_$with.log' 2>&1 || echo 'failed: $noise $method $with'"
    done
  done
done | xargs -d '\n' -P "$parallel" -I{} bash -c '{}'
