#!/usr/bin/env bash
# Train under Slurm with one task a GPU; GPUS=0 asks for TASKS CPU tasks (default 1) and no GPU.
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of train.py]
set -euo pipefail

if (($# < 4)); then
    sed -n '2,3s/^# *//p' "$0" >&2
    exit 2
fi
partition=$1 job_name=$2 config=$3 work_dir=$4
root=$(cd "$(dirname "$0")/.." && pwd)
read -ra srun_args <<<"${SRUN_ARGS:-}"

gpus=${GPUS:-8}
if ((gpus > 0)); then
    per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    resources=(--gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node")
else
    resources=(--ntasks="${TASKS:-1}")
fi

PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec srun \
    --partition="$partition" \
    --job-name="$job_name" \
    "${resources[@]}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    "${srun_args[@]}" \
    python -u "$root/tools/train.py" "$config" --work-dir "$work_dir" --launcher slurm "${@:5}"
