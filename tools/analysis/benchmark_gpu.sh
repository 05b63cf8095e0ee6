#!/usr/bin/env bash
# Measure on one GPU what docs/performance-tables.md lists; each part stops after four minutes at the latest.
#   tools/analysis/benchmark_gpu.sh OUT.csv [cuda | cpu]    cpu: the same parts at toy size, to try the script
set -uo pipefail

if (($# < 1)); then
    sed -n '2,3s/^# *//p' "$0" >&2
    exit 2
fi
out=$1 device=${2:-cuda}
root=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
at=$root/
[[ $root == "$PWD" ]] && at=  # so that the CSV names the configs as other commands do
TRITON_CACHE_DIR=$(mktemp -d)  # so that the first pass compiles every kernel
export TRITON_CACHE_DIR
trap 'rm -rf "$TRITON_CACHE_DIR"' EXIT

r50=${at}configs/classification/imagenet/cgc-resnet50_8xb32_in1k.py
r110=${at}configs/classification/cifar10/cgc-resnet110_1xb128-164e_cifar10.py
tsm=${at}configs/action/tsm/tsm-cgc_imagenet-pretrained-r50_8xb8-1x1x8-45e_sthv1-rgb.py
p3d=${at}configs/action/p3d/p3d-cgc-1d-3d_imagenet-pretrained-r50_8xb8-32x1x1-50e_sthv1-rgb.py
light=${at}configs/translation/iwslt14/cgc-lightconv_1xt4k-50k_iwslt14-de-en.py
if [[ $device == cpu ]]; then
    image=(--batch 2 --shape 64) small=(--batch 2) clip=(--batch 1 --shape 64) clips=(--batch 1 --shape 32 32 32)
    text=(--batch 2) graphs=() half=() repeats=1 limit=900
    # A CPU may have to emulate bfloat16, and takes minutes to compile a large network.
    compiled=("${at}configs/quickstart/cgc-resnet20_1xb32-10e_digits.py" --batch 2)
else
    image=(--batch 128) small=(--batch 128) clip=(--batch 16) clips=(--batch 8)
    text=(--batch 128) graphs=(--cuda-graphs)
    half=(--bfloat16) repeats=3 limit=240 compiled=("$r50" "${image[@]}")
fi
last=("${half[@]}" --channels-last) failed=0

part() {
    echo "== $1"
    local start=$SECONDS
    timeout "$limit" "${@:2}" || { echo "failed: $1"; failed=1; }
    echo "== took $((SECONDS - start)) s"
}

measure() {
    part "$1" python "${at}tools/analysis/benchmark.py" "$2" --device "$device" --csv "$out" --repeats $repeats "${@:3}"
}

part 'parity of the kernels' python -m pytest -q -n0 "${at}tests/ops/conv/test_triton_parity.py" \
    "${at}tests/ops/context"
measure 'ResNet-50, eager; its first step compiles every kernel' "$r50" "${image[@]}" "${last[@]}" \
    --passes step forward --arms plain mmcgc
measure 'ResNet-50, as CUDA graphs' "$r50" "${image[@]}" "${last[@]}" "${graphs[@]}" \
    --arms plain mmcgc context batch_as_groups condconv
measure 'ResNet-50, compiled' "${compiled[@]}" "${last[@]}" --compile --arms plain mmcgc batch_as_groups
measure 'ResNet-50, each layer' "$r50" "${image[@]}" "${last[@]}" --layers --arms plain mmcgc batch_as_groups
measure 'ResNet-110, as CUDA graphs' "$r110" "${small[@]}" "${graphs[@]}" --arms plain mmcgc context
measure 'TSM' "$tsm" "${clip[@]}" "${last[@]}" "${graphs[@]}" --arms plain mmcgc
measure 'P3D-A' "$p3d" "${clips[@]}" "${half[@]}" "${graphs[@]}" --arms plain mmcgc
measure 'LightConv' "$light" "${text[@]}" "${half[@]}" "${graphs[@]}" --arms plain mmcgc
exit $failed
