#!/usr/bin/env bash
# All that needs a GPU, in one go: speeds first, then as many steps of a training as fit into MINUTES, from WEIGHTS on.
#
#     bash benchmarks/on_gpu.sh DATA OUT [MINUTES=8] [WEIGHTS=small] [RECIPE=small]
#
# Every result is kept in OUT at once; a part that fails leaves its message and does not stop the others.
# Takes about MINUTES + 5 minutes; the training itself, with the state to resume from, stays in a temporary folder and
# only float16 weights, card and log are kept. It needs torch, numpy, pillow, scipy, scikit-image, safetensors, tqdm.
# DEVICE=cpu tries the script without a GPU, PYTHON=... picks the interpreter, SET="train.batch=64" changes the training.
set -uo pipefail
data=$1 out=$2 minutes=${3:-8} weights=${4:-small} recipe=${5:-small}
cd "$(dirname "$0")/.." && mkdir -p "$out" && out=$(cd "$out" && pwd)
python=${PYTHON:-python3} device=${DEVICE:-cuda} set=${SET:-train.batch=32}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

part() { # part NAME COMMAND...: run it, keep what it prints
  local name=$1 start=$SECONDS
  shift
  "$@" > "$out/$name.txt" 2>&1 && local state=done || local state=FAILED
  echo "== $name: $state after $((SECONDS - start)) s"
  tail -n 12 "$out/$name.txt"
}

part doctor "$python" -m slerlib doctor
part dispatch "$python" benchmarks/dispatch.py --recipe "$recipe" --device "$device" --out "$out/dispatch.json"
part profile "$python" benchmarks/train_profile.py --recipe "$recipe" --data "$data" --device "$device" --steps 6 \
  --set $set --out "$out/profile.json"
[ "$device" = cpu ] || part profile_paper "$python" benchmarks/train_profile.py --recipe paper --device "$device" --stages C --steps 3 \
  --set train.batch=4 --sustained 100 --out "$out/profile_paper.json"

steps=$("$python" - "$out/profile.json" "$minutes" << 'EOF'
import json, sys
result = json.load(open(sys.argv[1]))
print(max(20, int(60 * float(sys.argv[2]) / min(row["seconds_per_step"] for row in result["C"].values()))))
EOF
)
part train timeout "$(awk "BEGIN {print int(60 * $minutes * 1.5 + 90)}")" "$python" -m slerlib train "$recipe" \
  --data "$data" --init "$weights" --out "$work/run" --device "$device" --workers "$(($(nproc) > 2 ? $(nproc) - 2 : 0))" \
  --set train.stage_a=0 train.stage_c=1 train.save_every=200 train.steps="$steps" $set

part keep "$python" - "$work/run" "$out/weights" << 'EOF'
import shutil, sys
from slerlib import checkpoint
net, card = checkpoint.load_net(sys.argv[1])
checkpoint.save_weights(sys.argv[2], net, card, half=True)
shutil.copy(f"{sys.argv[1]}/log.jsonl", sys.argv[2])
print(f"{card['steps_done']} steps in {card['minutes']:.1f} minutes on {card['machine']['device']}")
EOF
