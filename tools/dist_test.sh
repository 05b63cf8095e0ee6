#!/usr/bin/env bash
# Test with PROCESSES processes, each on a GPU of its own, or all on the CPU if the machine has no GPU.
#   [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500] tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of test.py]
set -euo pipefail

if (($# < 3)); then
    sed -n '2,3s/^# *//p' "$0" >&2
    exit 2
fi
config=$1 checkpoint=$2 processes=$3
root=$(cd "$(dirname "$0")/.." && pwd)

PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --nproc-per-node="$processes" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    "$root/tools/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
