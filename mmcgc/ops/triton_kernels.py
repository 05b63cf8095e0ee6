"""The Triton kernels: implicit matrix products over channels-last tensors, whose weights are gated in registers.

Layouts: x (B, H, W, C), y (B, H', W', N), w (N, T, C), G1 (B, T, C) and G2 (B, T, N) with the T taps of the kernel.
Offsets into a whole batch are 64 bits wide, those within one sample 32.

``h`` and ``w`` are an :class:`~mmcgc.ops.triton_axes.Axis` each: through tap i, pixel u reads pixel
``u * mul + first + i * step`` of the source.

The axis over which a tile's product sums is BT taps by BC channels: one tap where channels are many, several where
they are few, so that a stem of 3 channels wastes a quarter of each product instead of 13 parts in 16.  With BT = 1
whatever depends on the tap is a scalar, otherwise a vector, to which ``_row`` and ``_column`` give its axis.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _row(value, BT: tl.constexpr):
    return value if BT == 1 else value[None, :]


@triton.jit
def _column(value, BT: tl.constexpr):
    return value if BT == 1 else value[:, None]


@triton.jit
def _factor(pointers, mask):
    """e^-term: as 1 / (1 + e^-a e^-b) is the sigmoid of a + b, exponentials are taken of rows and columns alone.

    Terms beyond +-86 count as 86, so that no factor overflows; NaN stays NaN.
    """
    power = tl.load(pointers, mask, 0).to(tl.float32) * -1.4426950408889634
    return tl.exp2(tl.clamp(power, -125.0, 125.0, propagate_nan=tl.PropagateNan.ALL))


@triton.jit
def _gate(factor, FAST: tl.constexpr):
    """1 / (1 + factor), not below 2^-60.

    FAST: from one reciprocal for two elements, 1 / a = b / (a b), for reciprocals are what gating waits for.
    """
    bounded = tl.minimum(1 + factor, 1152921504606846976.0, propagate_nan=tl.PropagateNan.ALL)
    if FAST:
        return tl.inline_asm_elementwise(
            '{ .reg .f32 t; mul.f32 t, $2, $3; rcp.approx.ftz.f32 t, t; mul.f32 $0, t, $3; mul.f32 $1, t, $2; }',
            '=f,=f,f,f', [bounded], dtype=tl.float32, is_pure=True, pack=2,
        )  # fmt: skip
    return 1 / bounded


@triton.jit
def _source(u, v, i, j, h, w):
    """Where pixel (u, v) reads through tap (i, j), and whether that lies within the source."""
    di, dj = h.first + i * h.step, w.first + j * w.step
    row, column = u * h.mul + di, v * w.mul + dj
    inside = (row >= 0) & (row < h.size) & (column >= 0) & (column < w.size)
    return (u * h.mul * w.size + v * w.mul) + (di * w.size + dj), inside


@triton.jit
def gated_conv(
    src, weight, gate_k, gate_n, bias, dst, h, w, weight_n, weight_t, weight_k,
    K: tl.constexpr, N: tl.constexpr, T: tl.constexpr, KW: tl.constexpr, NH: tl.constexpr, NW: tl.constexpr,
    BN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BT: tl.constexpr,
    PRECISION: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """``dst[b, p, n] = sum over taps and k of src[b, source(p, tap), k] * weight[n, tap, k] * gate``, plus the bias.

    The forward pass, and with inputs and outputs swapped the gradient of x.  NH by NW taps take part.  The gated
    weights are the left operand of the product: Hopper's wgmma takes that one from registers.
    """
    BK: tl.constexpr = BT * BC
    tiles_n: tl.constexpr = (N + BN - 1) // BN
    blocks_t: tl.constexpr = (NH * NW + BT - 1) // BT
    blocks_k: tl.constexpr = (K + BC - 1) // BC
    tiles_p = tl.cdiv(h.count * w.count, BP)
    pid = tl.program_id(0)
    sample = (pid // (tiles_n * tiles_p)).to(tl.int64)
    p = pid // tiles_n % tiles_p * BP + tl.arange(0, BP)
    n = pid % tiles_n * BN + tl.arange(0, BN)
    u, v = p // w.count, p % w.count
    mask_p, mask_n = p < h.count * w.count, n < N
    src += sample * h.size * w.size * K
    if gate_k is not None:
        gate_k += sample * T * K
    if gate_n is not None:
        gate_n += sample * T * N

    acc = tl.zeros((BN, BP), tl.float32)
    for block in range(blocks_t * blocks_k):
        if BT == 1:
            slot = block % blocks_t
            k = block // blocks_t * BC + tl.arange(0, BC)
        else:
            slot = block * BT + tl.arange(0, BK) // BC
            k = tl.arange(0, BK) % BC
        mask_t = slot < NH * NW
        mask_k = (k < K) & mask_t
        i, j = slot // NW, slot % NW
        tap = (h.tap + i * h.tap_step) * KW + w.tap + j * w.tap_step
        factor = tl.full((1, 1), 1, tl.float32)
        if gate_k is not None:
            factor *= _factor(gate_k + tap * K + k, mask_k)[None, :]
        if gate_n is not None:
            factor *= _factor(gate_n + _row(tap, BT) * N + n[:, None], mask_n[:, None] & _row(mask_t, BT))
        at = n[:, None] * weight_n + _row(tap, BT) * weight_t + k[None, :] * weight_k
        kernel = tl.load(weight + at, mask_n[:, None] & mask_k[None, :], 0).to(tl.float32)  # (BN, BK)
        kernel *= _gate(tl.broadcast_to(factor, (BN, BK)), FAST)
        pixel, inside = _source(u[None, :], v[None, :], _column(i, BT), _column(j, BT), h, w)
        values = tl.load(src + pixel * K + k[:, None], inside & mask_p[None, :] & mask_k[:, None], 0)  # (BK, BP)
        acc = tl.dot(kernel.to(values.dtype), values, acc, input_precision=PRECISION)

    if bias is not None:
        acc += tl.load(bias + n, mask_n, 0).to(tl.float32)[:, None]
    out = (h.offset + u * h.stride) * w.full + w.offset + v * w.stride
    dst += sample * h.full * w.full * N
    tl.store(dst + out[None, :] * N + n[:, None], acc.to(dst.dtype.element_ty), mask_n[:, None] & mask_p[None, :])


@triton.jit
def gated_conv_weight_grad(
    x, grad, weight, gate_in, gate_out, weight_part, in_part, out_part, samples, per_split, h, w,
    C: tl.constexpr, N: tl.constexpr, T: tl.constexpr, KW: tl.constexpr,
    BN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BT: tl.constexpr, ONE: tl.constexpr,
    PRECISION: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Gradients of the weight and of both gate terms, as partial sums: no atomics, the same result every time.

    A program owns a tile of the kernel and a run of ``per_split`` samples.  The gradient of one sample's gated kernel
    stays in registers; what leaves is its sum over the run, weighted by the gate, to weight_part (splits, N, T, C), and
    for each sample its sums over the tile's outputs to in_part (tiles of N, B, T, C) and over the tile's channels to
    out_part (tiles of C, B, T, N).  ONE: a sample's pixels fit one tile.
    """
    BR: tl.constexpr = BT * BC
    tiles_n: tl.constexpr = (N + BN - 1) // BN
    blocks_t: tl.constexpr = (T + BT - 1) // BT
    blocks_c: tl.constexpr = (C + BC - 1) // BC
    pid = tl.program_id(0)
    tile_n, block_t, tile_c = pid % tiles_n, pid // tiles_n % blocks_t, pid // (tiles_n * blocks_t) % blocks_c
    split = pid // (tiles_n * blocks_t * blocks_c)
    n = tile_n * BN + tl.arange(0, BN)
    if BT == 1:
        tap = block_t
        c = tile_c * BC + tl.arange(0, BC)
    else:
        tap = block_t * BT + tl.arange(0, BR) // BC
        c = tl.arange(0, BR) % BC
    mask_n, mask_t = n < N, tap < T
    mask_r = (c < C) & mask_t
    mask = mask_n[:, None] & mask_r[None, :]
    at = (n[:, None] * T + _row(tap, BT)) * C + c[None, :]
    kernel = tl.load(weight + at, mask, 0)  # (BN, BR)
    i, j = _row(tap // KW, BT), _row(tap % KW, BT)
    pixels = h.count * w.count

    total = tl.zeros((BN, BR), tl.float32)
    for index in range(split * per_split, min(samples, (split + 1) * per_split)):
        sample = tl.cast(index, tl.int64)
        factor = tl.full((1, 1), 1, tl.float32)
        if gate_in is not None:
            factor *= _factor(gate_in + sample * T * C + (tap * C + c), mask_r)[None, :]
        if gate_out is not None:
            mask_g = mask_n[:, None] & _row(mask_t, BT)
            factor *= _factor(gate_out + sample * T * N + (_row(tap, BT) * N + n[:, None]), mask_g)
        acc = tl.zeros((BN, BR), tl.float32)
        for start in range(0, BP if ONE else pixels, BP):
            p = start + tl.arange(0, BP)
            mask_p = p < pixels
            pixel, inside = _source((p // w.count)[:, None], (p % w.count)[:, None], i, j, h, w)
            mask_x = inside & mask_p[:, None] & mask_r[None, :]
            values = tl.load(x + sample * h.size * w.size * C + (pixel * C + c[None, :]), mask_x, 0)  # (BP, BR)
            mask_y = mask_p[None, :] & mask_n[:, None]
            grads = tl.load(grad + sample * pixels * N + (p[None, :] * N + n[:, None]), mask_y, 0)  # (BN, BP)
            acc = tl.dot(grads, values, acc, input_precision=PRECISION)
        gate = _gate(tl.broadcast_to(factor, (BN, BR)), FAST)
        acc *= gate
        total += acc
        acc *= kernel.to(tl.float32) * (1 - gate)  # the gradient of the sum of both terms
        if gate_in is not None:
            row = (tile_n * samples + sample) * T * C
            tl.store(in_part + row + (tap * C + c), tl.sum(acc, 0), mask_r)
        if gate_out is not None:
            row = (tile_c * samples + sample) * T * N
            if BT == 1:
                tl.store(out_part + row + (tap * N + n), tl.sum(acc, 1), mask_n)
            else:
                t = block_t * BT + tl.arange(0, BT)
                sums = tl.sum(tl.reshape(acc, (BN, BT, BC)), 2)  # (BN, BT)
                tl.store(out_part + row + (t[None, :] * N + n[:, None]), sums, mask_n[:, None] & (t < T)[None, :])
    tl.store(weight_part + split.to(tl.int64) * N * T * C + at, total, mask)
