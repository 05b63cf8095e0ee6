"""The Triton kernels, which multiply channels-last tensors as implicit matrices and gate the weights in registers.

Layouts: x (B, H, W, C), y (B, H', W', N), w (N, T, C), G1 (B, T, C) and G2 (B, T, N) with the T taps of the kernel.
Offsets into a whole batch are 64 bits wide, those within one sample 32 bits.

``h`` and ``w`` are an :class:`~mmcgc.ops.conv.triton_axes.Axis` each: through tap i, pixel u reads pixel
``u * mul + first + i * step`` of the source.

The axis over which a tile's product sums is BT taps by BC channels: one tap if there are many channels, several if
there are few, so that a stem of 3 channels wastes a quarter of each product instead of 13 parts in 16.  With BT = 1
whatever depends on the tap is a scalar; otherwise it is a vector, to which ``_row`` and ``_column`` give its axis.

Gates come as factors: 1 / (1 + e^-a e^-b) is the sigmoid of a + b, so the exponential of each term is taken once, and
an element of a sample's kernel costs one product and one reciprocal.  Only samples with a term beyond the range of
float32, which are flagged, take the exponential of each sum.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _factors(
    gate, out, flag, block, stride_c, stride_t, C: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    index = block * BLOCK + tl.arange(0, BLOCK)
    mask = index < C * T
    power = tl.load(gate + index % C * stride_c + index // C * stride_t, mask, 0).to(tl.float32) * -1.4426950408889634
    far = tl.abs(power) > 125
    value = tl.where(far, tl.where(power > 0, -power, 1 / power), tl.exp2(power))
    tl.store(out + index, value, mask)
    tl.store(flag, tl.max(far.to(tl.int32), 0))


@triton.jit
def gate_factors(
    gate_in, in_b, in_c, in_t, gate_out, out_b, out_c, out_t, factor_in, factor_out, flags,
    C: tl.constexpr, N: tl.constexpr, T: tl.constexpr, BLOCKS: tl.constexpr, F: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write e^-gate to factor_in (B, T, C), by BLOCKS of a sample's F blocks, and factor_out (B, T, N), by the others.

    For a term beyond +-86 the factor would leave the range of float32.  In its place stands the power p of two that it
    is, as -p or, if p is negative, as 1 / p, and the flag (B, F) of the block is set.  NaN stays NaN.
    """
    sample, block = (tl.program_id(0) // F).to(tl.int64), tl.program_id(0) % F
    flag = flags + tl.program_id(0)
    if gate_in is not None:
        if block < BLOCKS:
            _factors(gate_in + sample * in_b, factor_in + sample * C * T, flag, block, in_c, in_t, C, T, BLOCK)
    if gate_out is not None:
        if block >= BLOCKS:
            out = factor_out + sample * N * T
            _factors(gate_out + sample * out_b, out, flag, block - BLOCKS, out_c, out_t, N, T, BLOCK)


@triton.jit
def _extreme(flags, F: tl.constexpr, FP: tl.constexpr):
    """Return 1 if any of a sample's flags is set, else 0."""
    i = tl.arange(0, FP)
    return tl.max(tl.load(flags + i, i < F, 0), 0)


@triton.jit
def _power(factor):
    """Return the power of two that a factor is, or stands for."""
    return tl.where(factor < 0, tl.where(factor < -1, -factor, 1 / factor), tl.log2(factor))


@triton.jit
def _gate(one, other, EXACT: tl.constexpr, FAST: tl.constexpr):
    """Return 1 / (1 + one * other); if EXACT, the factors may stand for powers.

    If FAST, the reciprocal is one instruction, good to one unit in the last place, while a division takes nine.
    """
    if EXACT:
        factor = tl.exp2(_power(one) + _power(other))
    else:
        factor = one * other
    if FAST:
        return tl.inline_asm_elementwise(
            'rcp.approx.ftz.f32 $0, $1;', '=f,f', [1 + factor], dtype=tl.float32, is_pure=True, pack=1
        )
    return 1 / (1 + factor)


@triton.jit
def _row(value, BT: tl.constexpr):
    return value if BT == 1 else value[None, :]


@triton.jit
def _column(value, BT: tl.constexpr):
    return value if BT == 1 else value[:, None]


@triton.jit
def _inside(position, size):
    """Tell whether 0 <= position < size, in one comparison."""
    return position.to(tl.uint32, bitcast=True) < size


@triton.jit
def _within(pixel, axis, TAPS: tl.constexpr):
    """Set bit i if the pixel reads through tap i from within the source.  Later tests are one instruction each."""
    bits = tl.zeros_like(pixel)
    for i in tl.static_range(TAPS):
        source = pixel * axis.mul + (axis.first + i * axis.step)
        bits |= _inside(source, axis.size).to(tl.int32) << i
    return bits


@triton.jit
def gated_conv(
    src, weight, factor_k, factor_n, flags, bias, dst, h, w, weight_n, weight_t, weight_k,
    K: tl.constexpr, N: tl.constexpr, T: tl.constexpr, KW: tl.constexpr, NH: tl.constexpr, NW: tl.constexpr,
    BN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BT: tl.constexpr, F: tl.constexpr, FP: tl.constexpr,
    PRECISION: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Write to dst[b, p, n] the sum over taps and k of src[b, source(p, tap), k] * weight[n, tap, k] * gate, plus bias.

    This is the forward pass and, with inputs and outputs swapped, the gradient of x.  NH by NW taps take part, at most
    32 each.  The gated weights are the left operand of the product, because Hopper's wgmma takes it from registers.
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
    pixel = (u * h.mul * w.size + v * w.mul) * K
    rows, columns = tl.where(mask_p, _within(u, h, NH), 0), _within(v, w, NW)
    if factor_k is not None:
        factor_k += sample * T * K
    if factor_n is not None:
        factor_n += sample * T * N

    extreme = _extreme(flags + sample * F, F, FP)
    acc = tl.zeros((BN, BP), tl.float32)
    for EXACT in tl.static_range(2):  # two loops, so that the one of ordinary samples is short
        if extreme == EXACT:
            for block in range(blocks_t * blocks_k):
                if BT == 1:
                    slot = block % blocks_t
                    k = block // blocks_t * BC + tl.arange(0, BC)
                    mask_k, mask_g = k < K, mask_n[:, None]
                else:
                    slot = block * BT + tl.arange(0, BK) // BC
                    k = tl.arange(0, BK) % BC
                    mask_t = slot < NH * NW
                    mask_k, mask_g = (k < K) & mask_t, mask_n[:, None] & mask_t[None, :]
                    slot = tl.where(mask_t, slot, 0)
                i, j = slot // NW, slot % NW
                tap = (h.tap + i * h.tap_step) * KW + w.tap + j * w.tap_step
                of_k, of_n = tl.full((1, 1), 1, tl.float32), tl.full((1, 1), 1, tl.float32)
                if factor_k is not None:
                    of_k = tl.load(factor_k + tap * K + k, mask_k, 1)[None, :]
                if factor_n is not None:
                    of_n = tl.load(factor_n + _row(tap, BT) * N + n[:, None], mask_g, 1)
                at = n[:, None] * weight_n + _row(tap, BT) * weight_t + k[None, :] * weight_k
                kernel = tl.load(weight + at, mask_n[:, None] & mask_k[None, :], 0).to(tl.float32)  # (BN, BK)
                kernel *= _gate(of_k, of_n, EXACT, FAST)
                shift = ((h.first + i * h.step) * w.size + w.first + j * w.step) * K
                mask = ((rows[None, :] >> _column(i, BT)) & (columns[None, :] >> _column(j, BT)) & 1) != 0
                if BT > 1 or K % BC != 0:
                    mask &= mask_k[:, None]
                values = tl.load(src + (pixel[None, :] + (_column(shift, BT) + k[:, None])), mask, 0)  # (BK, BP)
                acc = tl.dot(kernel.to(values.dtype), values, acc, input_precision=PRECISION)

    if bias is not None:
        acc += tl.load(bias + n, mask_n, 0).to(tl.float32)[:, None]
    out = (h.offset + u * h.stride) * w.full + w.offset + v * w.stride
    dst += sample * h.full * w.full * N
    tl.store(dst + (out[None, :] * N + n[:, None]), acc.to(dst.dtype.element_ty), mask_n[:, None] & mask_p[None, :])


@triton.jit
def gated_conv_weight_grad(
    x, grad, weight, factor_in, factor_out, flags, weight_part, in_part, out_part, samples, per_split, h, w,
    C: tl.constexpr, N: tl.constexpr, T: tl.constexpr, KW: tl.constexpr,
    BN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BT: tl.constexpr, ONE: tl.constexpr,
    F: tl.constexpr, FP: tl.constexpr, PRECISION: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the weight and of both gate terms as partial sums; every run gives the same result.

    A program owns a tile of the kernel and a run of ``per_split`` samples.  The gradient of one sample's gated kernel
    stays in registers.  Written are its sum over the run, weighted by the gate, to weight_part (splits, N, T, C), and
    for each sample its sums over the tile's outputs to in_part (tiles of N, B, T, C) and over the tile's channels to
    out_part (tiles of C, B, T, N).  This takes no atomics.  If ONE, a sample's pixels fit one tile.
    """
    BR: tl.constexpr = BT * BC
    tiles_n: tl.constexpr = (N + BN - 1) // BN
    blocks_t: tl.constexpr = (T + BT - 1) // BT
    blocks_c: tl.constexpr = (C + BC - 1) // BC
    pid = tl.program_id(0)
    tile_n, block_t, tile_c = pid % tiles_n, pid // tiles_n % blocks_t, pid // (tiles_n * blocks_t) % blocks_c
    split = pid // (tiles_n * blocks_t * blocks_c)
    n = tile_n * BN + tl.arange(0, BN)
    mask_n = n < N
    if BT == 1:
        tap = block_t
        c = tile_c * BC + tl.arange(0, BC)
        mask_r, mask_g = c < C, mask_n[:, None]
    else:
        tap = block_t * BT + tl.arange(0, BR) // BC
        c = tl.arange(0, BR) % BC
        mask_r, mask_g = (c < C) & (tap < T), mask_n[:, None] & (tap < T)[None, :]
    mask = mask_n[:, None] & mask_r[None, :]
    at = (n[:, None] * T + _row(tap, BT)) * C + c[None, :]
    kernel = tl.load(weight + at, mask, 0).to(tl.float32)  # (BN, BR)
    row_shift = _row(h.first + tap // KW * h.step, BT)
    column_shift = _row(w.first + tap % KW * w.step, BT)
    p = tl.arange(0, BP)
    u_first, v_first = p // w.count, p % w.count

    total = tl.zeros((BN, BR), tl.float32)
    for index in range(split * per_split, min(samples, (split + 1) * per_split)):
        sample = tl.cast(index, tl.int64)
        of_in, of_out = tl.full((1, 1), 1, tl.float32), tl.full((1, 1), 1, tl.float32)
        if factor_in is not None:
            of_in = tl.load(factor_in + sample * T * C + (tap * C + c), mask_r, 1)[None, :]
        if factor_out is not None:
            of_out = tl.load(factor_out + sample * T * N + (_row(tap, BT) * N + n[:, None]), mask_g, 1)
        x_sample, grad_sample = x + sample * h.size * w.size * C, grad + sample * h.count * w.count * N
        acc = tl.zeros((BN, BR), tl.float32)
        u, v = u_first, v_first
        for start in range(0, BP if ONE else h.count * w.count, BP):
            row, column = u[:, None] * h.mul + row_shift, v[:, None] * w.mul + column_shift
            mask_x = _inside(row, h.size) & _inside(column, w.size) & (u < h.count)[:, None]
            if BT > 1 or C % BC != 0:
                mask_x &= mask_r[None, :]
            values = tl.load(x_sample + ((row * w.size + column) * C + c[None, :]), mask_x, 0)  # (BP, BR)
            mask_y = (start + p < h.count * w.count)[None, :]
            if N % BN != 0:
                mask_y &= mask_n[:, None]
            grads = tl.load(grad_sample + ((start + p)[None, :] * N + n[:, None]), mask_y, 0)  # (BN, BP)
            acc = tl.dot(grads, values, acc, input_precision=PRECISION)
            u, v = u + BP // w.count, v + BP % w.count
            u, v = tl.where(v < w.count, u, u + 1), tl.where(v < w.count, v, v - w.count)
        if _extreme(flags + sample * F, F, FP):
            gate = _gate(of_in, of_out, True, FAST)
        else:
            gate = _gate(of_in, of_out, False, FAST)
        acc *= gate
        total += acc
        acc = acc * (1 - gate) * kernel  # the gradient of the sum of both terms
        if factor_in is not None:
            row_at = (tile_n * samples + sample) * T * C
            tl.store(in_part + row_at + (tap * C + c), tl.sum(acc, 0), mask_r)
        if factor_out is not None:
            row_at = (tile_c * samples + sample) * T * N
            if BT == 1:
                tl.store(out_part + row_at + (tap * N + n), tl.sum(acc, 1), mask_n)
            else:
                t = block_t * BT + tl.arange(0, BT)
                sums = tl.sum(tl.reshape(acc, (BN, BT, BC)), 2)  # (BN, BT)
                tl.store(out_part + row_at + (t[None, :] * N + n[:, None]), sums, mask_n[:, None] & (t < T)[None, :])
    tl.store(weight_part + split.to(tl.int64) * N * T * C + at, total, mask)
