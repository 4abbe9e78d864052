#!/usr/bin/env bash
# Put the weights of a training in the place of an included checkpoint, and make again what was made with the old ones.
#
#     bash benchmarks/ship_weights.sh RUN NAME NOTES.md VAL
#
# VAL holds the test sets that data/README.md describes: the folders of Val. Without a Val of your own, take fewer steps.
# STEPS="card unseen ..." takes some of the steps, in this order; each reads what those before it wrote:
#     card        data/checkpoints/NAME: weights rounded to float16, scores, limits of doubt
#     unseen      rule for damage that training never saw, docs/images/unseen.png
#     pictures    docs/images: restorations, places
#     reference   reports/reference.json: numbers of NAME, and of the comparison
# By hand afterwards: docs/real_photographs.py, which needs pictures from elsewhere; the
# tables of README.md and docs/results.md, whose rows tests/test_docs.py holds against the cards; then commit, and run
# `make gallery`.
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
run=$(realpath "$1") name=$2 notes=$(realpath "$3") val=$(realpath "$4")
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
photographs=$val/denoise/cbsd68_dev

card() {
  "$python" benchmarks/make_card.py "$run" "data/checkpoints/$name" --val "$photographs" \
    --val-name "cbsd68_dev: 34 images of CBSD68" --pairs "$val" --notes "$notes" --half --name "$name"
}

unseen() {
  local draw=()
  [ "$name" != tiny ] || draw=(--draw docs/images/unseen.png)
  "$python" benchmarks/unseen.py "$name" --keep "${draw[@]}" --test "$photographs" \
    --fit "$val/denoise/kodak24" "$val/lowlight/high" "$val/dehaze/target" "$val/deblur/target"
}

pictures() {
  [ "$name" = tiny ] || return 0
  "$python" docs/readme_picture.py
  "$python" docs/places.py
}

reference() {
  "$python" reports/make_reference.py "$name"
  [ "$name" = tiny ] || "$python" reports/make_reference.py tiny --reports compare
}

for step in ${STEPS:-card unseen pictures reference}; do
  echo "== $step"
  "$step"
done
