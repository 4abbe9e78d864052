#!/usr/bin/env bash
# A training of `small` that anyone can start, stop and go on with, in parts whose learning rate falls to its end.
#
#     bash benchmarks/train_small.sh DATA OUT [PARTS=1]       the same command starts it and goes on with it
#     kill PID                                                stops it (SIGTERM or Ctrl-C)
#
# OUT/part1 begins with the weights INIT, each later part with those of the part before; OUT/partN is a checkpoint at any
# time (`slerlib eval OUT/part1`), with state.pt, from which it goes on, to the bit on one CPU. A stop loses the steps
# since the last save. Variables, with their defaults:
#     STEPS=20000 of a part     SAVE=250 steps between saves     PROCESSES=1 of torchrun     NICE=19     WORKERS=0
#     RECIPE=small     INIT=tiny (empty: from nothing, with stage A)     SET="data.depth_share=0.5 ..."     PYTHON=python3
# A part must go on with the STEPS, SAVE, RECIPE and SET that it began with; the next part may have others.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$2"
data=$(realpath "$1") out=$(realpath "$2") parts=${3:-1} init=${INIT-tiny}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} processes=${PROCESSES:-1}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

launch=("$python" -m)
[ "$processes" = 1 ] || launch=("$python" -m torch.distributed.run --standalone --nproc_per_node "$processes" -m)
child=
trap '[ -z "$child" ] || { kill -TERM "$child" 2> /dev/null; wait "$child" || true; }
      echo "stopped; the same command goes on"; exit 143' TERM INT

for ((n = 1; n <= parts; n++)); do
  part="$out/part$n"
  settings=("train.steps=${STEPS:-20000}" "train.save_every=${SAVE:-250}")
  options=(--data "$data" --out "$part" --workers "${WORKERS:-0}")
  if [ -n "$init" ]; then # experts and sphere are trained already
    options+=(--init "$init")
    settings+=(train.stage_a=0 train.stage_c=1)
  fi
  init=$part
  [ ! -e "$part/done" ] || continue
  [ ! -e "$part/state.pt" ] || options+=(--resume)
  echo "part $n of $parts: $part"
  nice -n "${NICE:-19}" "${launch[@]}" slerlib train "${RECIPE:-small}" "${options[@]}" --set "${settings[@]}" ${SET:-} &
  child=$!
  wait "$child"
  touch "$part/done"
done
echo "done: $init"
