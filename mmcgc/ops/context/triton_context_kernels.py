"""The Triton kernels of the context network; each one ends where a norm has to wait for all samples.

Layouts: context P (N, C, p) of any strides, latent Z (N, d, C), mixed M (N, d, O), gate terms (N, n, C) and (N, n, O).
A program works on one sample and one group of channels; with ``channel_groups`` m there are N * m programs, and GC
inputs meet GO outputs in each.  Blocks are padded to BC, BO, BD, BP and BN, powers of two of at least 16, as
``tl.dot`` wants them; the padding is zero.

A norm's statistics are over all samples.  Each program writes those of its sample, a mean and a sum of squares around
it, and the next kernel joins them (Chan, Golub and LeVeque, 1979).  Without atomics, every run gives the same result.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _matrix(pointer, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, stride_r, stride_c):
    """Load a tile of a matrix of ROWS by COLUMNS, with zeros beyond its edges."""
    mask = (rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
    return tl.load(pointer + rows[:, None] * stride_r + columns[None, :] * stride_c, mask, 0).to(tl.float32)


@triton.jit
def _put(pointer, tile, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, stride_r):
    mask = (rows < ROWS)[:, None] & (columns < COLUMNS)[None, :]
    tl.store(pointer + rows[:, None] * stride_r + columns[None, :], tile, mask)


@triton.jit
def _product(a, b):
    return tl.dot(a, b, input_precision='ieee')


@triton.jit
def _put_statistics(statistics, tile, mask_d, mask_c, at, samples, size, D: tl.constexpr):
    """Write the mean over the D rows of a sample, and the sum of squares around it, to (2, N, size)."""
    mean = tl.sum(tile, 0) / D  # padded rows are zero, and add nothing
    around = tl.where(mask_d[:, None], tile - mean[None, :], 0.0)
    tl.store(statistics + at, mean, mask_c)
    tl.store(statistics + samples * size + at, tl.sum(around * around, 0), mask_c)


@triton.jit
def _statistics(statistics, c, mask_c, samples, size, D: tl.constexpr, BS: tl.constexpr):
    """Return the mean and the biased variance of each channel over all samples."""
    s = tl.arange(0, BS)
    total = tl.zeros_like(c).to(tl.float32)
    for start in range(0, samples, BS):
        mask = (start + s < samples)[:, None] & mask_c[None, :]
        total += tl.sum(tl.load(statistics + (start + s)[:, None] * size + c[None, :], mask, 0), 0)
    mean = total / samples
    squares = tl.zeros_like(mean)
    for start in range(0, samples, BS):
        mask = (start + s < samples)[:, None] & mask_c[None, :]
        at = (start + s)[:, None] * size + c[None, :]
        apart = tl.where(mask, tl.load(statistics + at, mask, 0) - mean[None, :], 0.0)
        squares += tl.sum(D * apart * apart + tl.load(statistics + samples * size + at, mask, 0), 0)
    return mean, squares / (samples * D)


@triton.jit
def _column_sums(part, c, mask_c, samples, size, BS: tl.constexpr):
    """Sum part (N, size) over the samples."""
    s = tl.arange(0, BS)
    total = tl.zeros_like(c).to(tl.float32)
    for start in range(0, samples, BS):
        mask = (start + s < samples)[:, None] & mask_c[None, :]
        total += tl.sum(tl.load(part + (start + s)[:, None] * size + c[None, :], mask, 0), 0)
    return total


@triton.jit
def _follow(running_mean, running_var, tracked, momentum, mean, var, c, mask_c, first, rows):
    """Update running statistics as BatchNorm does, with the unbiased variance."""
    old = tl.load(running_mean + c, mask_c, 0)
    tl.store(running_mean + c, old + momentum * (mean - old), mask_c)
    old = tl.load(running_var + c, mask_c, 0)
    tl.store(running_var + c, old + momentum * (var * rows / (rows - 1) - old), mask_c)
    if first:
        tl.store(tracked, tl.load(tracked) + 1)


@triton.jit
def _scaled(normal, scale, shift, c, mask_c, mask_d):
    """Apply the affine part of a norm; padded rows get zeros."""
    value = normal * tl.load(scale + c, mask_c, 0)[None, :] + tl.load(shift + c, mask_c, 0)[None, :]
    return tl.where(mask_d[:, None], value, 0.0)


@triton.jit
def encode(
    context, encoding, latent, statistics, stride_n, stride_c, stride_p, samples,
    C: tl.constexpr, GC: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    BC: tl.constexpr, BP: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Compute Z = E P, and the statistics of each sample."""
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i, d, p = tl.arange(0, BC), tl.arange(0, BD), tl.arange(0, BP)
    c = group * GC + i
    pooled = _matrix(context + sample * stride_n + group * GC * stride_c, p, i, P, GC, stride_p, stride_c)  # (BP, BC)
    z = _product(_matrix(encoding, d, p, D, P, P, 1), pooled)  # (BD, BC)
    _put(latent + sample * D * C + group * GC, z, d, i, D, GC, C)
    _put_statistics(statistics, z, d < D, i < GC, sample * C + c, samples, C, D)


@triton.jit
def interact(
    latent, statistics, saved, scale_in, shift_in, mean_in, var_in, tracked_in, eps_in, momentum_in,
    scale, shift, mean_out, var_out, tracked_out, eps, momentum, decode_in, interacting, gate_in, mixed,
    mixed_statistics, samples,
    C: tl.constexpr, OUT: tl.constexpr, GC: tl.constexpr, GO: tl.constexpr, D: tl.constexpr, N: tl.constexpr,
    BC: tl.constexpr, BO: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Apply both norms of Z; compute G1, and mix channels, with their statistics; save the mean and variance of Z."""
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i, o, d, n = tl.arange(0, BC), tl.arange(0, BO), tl.arange(0, BD), tl.arange(0, BN)
    c, mask_c, mask_d = group * GC + i, i < GC, d < D
    mean, var = _statistics(statistics, c, mask_c, samples, C, D, BS)
    if sample == 0:
        tl.store(saved + c, mean, mask_c)
        tl.store(saved + C + c, var, mask_c)
        _follow(mean_in, var_in, tracked_in, momentum_in, mean, var, c, mask_c, group == 0, samples * D)
        _follow(mean_out, var_out, tracked_out, momentum, mean, var, c, mask_c, group == 0, samples * D)
    z = _matrix(latent + sample * D * C + group * GC, d, i, D, GC, C, 1) - mean[None, :]
    kept = tl.maximum(_scaled(z * tl.rsqrt(var + eps_in)[None, :], scale_in, shift_in, c, mask_c, mask_d), 0)
    g = _product(_matrix(decode_in, n, d, N, D, D, 1), kept)  # (BN, BC)
    _put(gate_in + sample * N * C + group * GC, g, n, i, N, GC, C)
    kept = tl.maximum(_scaled(z * tl.rsqrt(var + eps)[None, :], scale, shift, c, mask_c, mask_d), 0)
    m = _product(kept, _matrix(interacting, i, o, GC, GO, 1, GC))  # (BD, BO)
    _put(mixed + sample * D * OUT + group * GO, m, d, o, D, GO, OUT)
    _put_statistics(mixed_statistics, m, mask_d, o < GO, sample * OUT + group * GO + o, samples, OUT, D)


@triton.jit
def decode(
    mixed, statistics, saved, scale, shift, running_mean, running_var, tracked, eps, momentum, decode_out, gate_out,
    samples, OUT: tl.constexpr, GO: tl.constexpr, D: tl.constexpr, N: tl.constexpr,
    BO: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Apply the norm of the mixed channels, save its mean and variance, and compute G2."""
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i, d, n = tl.arange(0, BO), tl.arange(0, BD), tl.arange(0, BN)
    o, mask_o, mask_d = group * GO + i, i < GO, d < D
    mean, var = _statistics(statistics, o, mask_o, samples, OUT, D, BS)
    if sample == 0:
        tl.store(saved + o, mean, mask_o)
        tl.store(saved + OUT + o, var, mask_o)
        _follow(running_mean, running_var, tracked, momentum, mean, var, o, mask_o, group == 0, samples * D)
    m = _matrix(mixed + sample * D * OUT + group * GO, d, i, D, GO, OUT, 1) - mean[None, :]
    m *= tl.rsqrt(var + eps)[None, :]
    kept = tl.maximum(_scaled(m, scale, shift, o, mask_o, mask_d), 0)
    g = _product(_matrix(decode_out, n, d, N, D, D, 1), kept)  # (BN, BO)
    _put(gate_out + sample * N * OUT + group * GO, g, n, i, N, GO, OUT)


@triton.jit
def decode_grad(
    grad_out, mixed, saved, scale, shift, eps, decode_out, grad_normal, sums, parts, stride_n, stride_o, stride_k,
    samples, at_part, part_size, OUT: tl.constexpr, GO: tl.constexpr, D: tl.constexpr, N: tl.constexpr,
    BO: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Turn the gradient of G2 into that of the norm's affine output, its sums for the norm, and the decoder's part."""
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i, d, n = tl.arange(0, BO), tl.arange(0, BD), tl.arange(0, BN)
    o, mask_o, mask_d = group * GO + i, i < GO, d < D
    mean, var = tl.load(saved + o, mask_o, 0), tl.load(saved + OUT + o, mask_o, 0)
    m = _matrix(mixed + sample * D * OUT + group * GO, d, i, D, GO, OUT, 1) - mean[None, :]
    m *= tl.rsqrt(var + eps)[None, :]
    value = _scaled(m, scale, shift, o, mask_o, mask_d)
    dg = _matrix(grad_out + sample * stride_n + group * GO * stride_o, n, i, N, GO, stride_k, stride_o)  # (BN, BO)
    part = parts + (sample * tl.num_programs(1) + group) * part_size + at_part
    _put(part, _product(dg, tl.trans(tl.maximum(value, 0))), n, d, N, D, D)
    dy = tl.where(value > 0, _product(_matrix(decode_out, d, n, D, N, 1, D), dg), 0.0)  # (BD, BO)
    _put(grad_normal + sample * D * OUT + group * GO, dy, d, i, D, GO, OUT)
    tl.store(sums + sample * OUT + o, tl.sum(dy, 0), mask_o)
    tl.store(sums + (samples + sample) * OUT + o, tl.sum(dy * m, 0), mask_o)


@triton.jit
def interact_grad(
    grad_in, latent, saved, scale_in, shift_in, eps_in, scale, shift, eps, decode_in, interacting,
    mixed, mixed_saved, mixed_scale, mixed_eps, mixed_grad, mixed_sums, grad_affine, grad_normal, sums, parts,
    stride_n, stride_c, stride_k, samples, at_decode, at_interact, part_size,
    C: tl.constexpr, OUT: tl.constexpr, GC: tl.constexpr, GO: tl.constexpr, D: tl.constexpr, N: tl.constexpr,
    BC: tl.constexpr, BO: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Go back through the norm of the mixed channels and the mixing, and from G1; only the norms of Z are left.

    grad_normal gets the gradients of both norms' standardised outputs, each times its 1 / sqrt(var + eps), added up;
    grad_affine (2, O) gets those of the mixed norm's scale and shift.
    """
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i, j, d, n = tl.arange(0, BC), tl.arange(0, BO), tl.arange(0, BD), tl.arange(0, BN)
    c, o, mask_c, mask_o, mask_d = group * GC + i, group * GO + j, i < GC, j < GO, d < D
    part = parts + (sample * tl.num_programs(1) + group) * part_size

    sum_y = _column_sums(mixed_sums, o, mask_o, samples, OUT, BS)
    sum_ym = _column_sums(mixed_sums + samples * OUT, o, mask_o, samples, OUT, BS)
    if sample == 0:
        tl.store(grad_affine + o, sum_ym, mask_o)
        tl.store(grad_affine + OUT + o, sum_y, mask_o)
    mean, var = tl.load(mixed_saved + o, mask_o, 0), tl.load(mixed_saved + OUT + o, mask_o, 0)
    inverse, rows = tl.rsqrt(var + mixed_eps), samples * D
    m = (_matrix(mixed + sample * D * OUT + group * GO, d, j, D, GO, OUT, 1) - mean[None, :]) * inverse[None, :]
    dy = _matrix(mixed_grad + sample * D * OUT + group * GO, d, j, D, GO, OUT, 1)
    dm = (dy - (sum_y[None, :] + m * sum_ym[None, :]) / rows) * (inverse * tl.load(mixed_scale + o, mask_o, 0))[None, :]
    dm = tl.where(mask_d[:, None], dm, 0.0)  # (BD, BO)

    mean, var = tl.load(saved + c, mask_c, 0), tl.load(saved + C + c, mask_c, 0)
    z = _matrix(latent + sample * D * C + group * GC, d, i, D, GC, C, 1) - mean[None, :]
    inverse = tl.rsqrt(var + eps)
    value = _scaled(z * inverse[None, :], scale, shift, c, mask_c, mask_d)
    _put(part + at_interact, _product(tl.trans(dm), tl.maximum(value, 0)), j, i, GO, GC, GC)
    dz = tl.where(value > 0, _product(dm, _matrix(interacting, j, i, GO, GC, GC, 1)), 0.0)  # (BD, BC)
    tl.store(sums + sample * C + c, tl.sum(dz, 0), mask_c)
    tl.store(sums + (samples + sample) * C + c, tl.sum(dz * z, 0) * inverse, mask_c)
    total = dz * (inverse * tl.load(scale + c, mask_c, 0))[None, :]

    inverse = tl.rsqrt(var + eps_in)
    value = _scaled(z * inverse[None, :], scale_in, shift_in, c, mask_c, mask_d)
    dg = _matrix(grad_in + sample * stride_n + group * GC * stride_c, n, i, N, GC, stride_k, stride_c)  # (BN, BC)
    _put(part + at_decode, _product(dg, tl.trans(tl.maximum(value, 0))), n, d, N, D, D)
    dz = tl.where(value > 0, _product(_matrix(decode_in, d, n, D, N, 1, D), dg), 0.0)
    tl.store(sums + (2 * samples + sample) * C + c, tl.sum(dz, 0), mask_c)
    tl.store(sums + (3 * samples + sample) * C + c, tl.sum(dz * z, 0) * inverse, mask_c)
    total += dz * (inverse * tl.load(scale_in + c, mask_c, 0))[None, :]
    _put(grad_normal + sample * D * C + group * GC, total, d, i, D, GC, C)


@triton.jit
def encode_grad(
    context, latent, saved, scale_in, eps_in, scale, eps, encoding, grad_normal, sums, grad_affine, grad_context, parts,
    stride_n, stride_c, stride_p, samples, part_size,
    C: tl.constexpr, GC: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    BC: tl.constexpr, BP: tl.constexpr, BD: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Go back through both norms of Z and the encoding; grad_affine (4, C) is scale and shift for G2, then for G1."""
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i, d, p = tl.arange(0, BC), tl.arange(0, BD), tl.arange(0, BP)
    c, mask_c, mask_d = group * GC + i, i < GC, d < D
    sum_y = _column_sums(sums, c, mask_c, samples, C, BS)
    sum_yz = _column_sums(sums + samples * C, c, mask_c, samples, C, BS)
    sum_y_in = _column_sums(sums + 2 * samples * C, c, mask_c, samples, C, BS)
    sum_yz_in = _column_sums(sums + 3 * samples * C, c, mask_c, samples, C, BS)
    if sample == 0:
        tl.store(grad_affine + c, sum_yz, mask_c)
        tl.store(grad_affine + C + c, sum_y, mask_c)
        tl.store(grad_affine + 2 * C + c, sum_yz_in, mask_c)
        tl.store(grad_affine + 3 * C + c, sum_y_in, mask_c)
    mean, var = tl.load(saved + c, mask_c, 0), tl.load(saved + C + c, mask_c, 0)
    z = _matrix(latent + sample * D * C + group * GC, d, i, D, GC, C, 1) - mean[None, :]
    inverse, inverse_in = tl.rsqrt(var + eps), tl.rsqrt(var + eps_in)
    a, a_in = inverse * tl.load(scale + c, mask_c, 0), inverse_in * tl.load(scale_in + c, mask_c, 0)
    level = a * sum_y + a_in * sum_y_in
    slope = a * inverse * sum_yz + a_in * inverse_in * sum_yz_in
    dz = _matrix(grad_normal + sample * D * C + group * GC, d, i, D, GC, C, 1)
    dz -= (level[None, :] + z * slope[None, :]) / (samples * D)
    dz = tl.where(mask_d[:, None], dz, 0.0)  # (BD, BC)
    pooled = _matrix(context + sample * stride_n + group * GC * stride_c, p, i, P, GC, stride_p, stride_c)  # (BP, BC)
    _put(parts + (sample * tl.num_programs(1) + group) * part_size, _product(dz, tl.trans(pooled)), d, p, D, P, P)
    dp = _product(_matrix(encoding, p, d, P, D, 1, P), dz)  # (BP, BC)
    _put(grad_context + sample * P * C + group * GC, dp, p, i, P, GC, C)


@triton.jit
def infer(
    context, encoding, scale_in, shift_in, mean_in, var_in, eps_in, scale, shift, mean_out, var_out, eps,
    mixed_scale, mixed_shift, mixed_mean, mixed_var, mixed_eps, decode_in, decode_out, interacting, gate_in, gate_out,
    stride_n, stride_c, stride_p,
    C: tl.constexpr, OUT: tl.constexpr, GC: tl.constexpr, GO: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    N: tl.constexpr, BC: tl.constexpr, BO: tl.constexpr, BP: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Compute G1 and G2 in one kernel, with running statistics."""
    sample, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i, j, d, p, n = tl.arange(0, BC), tl.arange(0, BO), tl.arange(0, BD), tl.arange(0, BP), tl.arange(0, BN)
    c, o, mask_c, mask_o, mask_d = group * GC + i, group * GO + j, i < GC, j < GO, d < D
    pooled = _matrix(context + sample * stride_n + group * GC * stride_c, p, i, P, GC, stride_p, stride_c)  # (BP, BC)
    z = _product(_matrix(encoding, d, p, D, P, P, 1), pooled)  # (BD, BC)
    normal = (z - tl.load(mean_in + c, mask_c, 0)[None, :]) * tl.rsqrt(tl.load(var_in + c, mask_c, 0) + eps_in)[None, :]
    kept = tl.maximum(_scaled(normal, scale_in, shift_in, c, mask_c, mask_d), 0)
    g = _product(_matrix(decode_in, n, d, N, D, D, 1), kept)  # (BN, BC)
    _put(gate_in + sample * N * C + group * GC, g, n, i, N, GC, C)
    normal = (z - tl.load(mean_out + c, mask_c, 0)[None, :]) * tl.rsqrt(tl.load(var_out + c, mask_c, 0) + eps)[None, :]
    kept = tl.maximum(_scaled(normal, scale, shift, c, mask_c, mask_d), 0)
    m = _product(kept, _matrix(interacting, i, j, GC, GO, 1, GC))  # (BD, BO)
    m = (m - tl.load(mixed_mean + o, mask_o, 0)[None, :]) * tl.rsqrt(tl.load(mixed_var + o, mask_o, 0) + mixed_eps)[
        None, :
    ]
    kept = tl.maximum(_scaled(m, mixed_scale, mixed_shift, o, mask_o, mask_d), 0)
    g = _product(_matrix(decode_out, n, d, N, D, D, 1), kept)  # (BN, BO)
    _put(gate_out + sample * N * OUT + group * GO, g, n, j, N, GO, OUT)
