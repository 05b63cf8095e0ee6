"""The gate of the paper, written out with PyTorch's own modules and loops; independent of mmcgc.layers."""

import torch
from torch.nn import functional as F

POOLS = {
    ('avg', 1): F.adaptive_avg_pool1d, ('avg', 2): F.adaptive_avg_pool2d, ('avg', 3): F.adaptive_avg_pool3d,
    ('max', 1): F.adaptive_max_pool1d, ('max', 2): F.adaptive_max_pool2d, ('max', 3): F.adaptive_max_pool3d,
}  # fmt: skip


def _norm(x, bn):
    if isinstance(bn, torch.nn.Identity):
        return x
    if isinstance(bn, torch.nn.GroupNorm):
        samples = []
        for sample in x:  # (C, d)
            parts = sample.reshape(bn.num_groups, -1)  # (m, C/m * d)
            mean, var = parts.mean(1, keepdim=True), parts.var(1, keepdim=True, unbiased=False)
            samples.append(((parts - mean) / torch.sqrt(var + bn.eps)).reshape(sample.shape))
        return torch.stack(samples) * bn.weight[:, None] + bn.bias[:, None]
    if bn.training:
        mean, var = x.mean((0, 2)), x.var((0, 2), unbiased=False)
    else:
        mean, var = bn.running_mean, bn.running_var
    y = (x - mean[:, None]) / torch.sqrt(var[:, None] + bn.eps)
    return y * bn.weight[:, None] + bn.bias[:, None]


def _interact(c, linear, groups):
    width_in, width_out = c.shape[1] // groups, linear.weight.shape[0]
    parts = []
    for q in range(groups):
        part = c[:, q * width_in : (q + 1) * width_in]  # (B, C/m, d)
        parts.append(torch.stack([(linear.weight[r][:, None] * part).sum(1) for r in range(width_out)], 1))
    return torch.cat(parts, 1)  # (B, O, d)


def _decode(gate, name, latent):
    n = int(torch.tensor(gate.kernel_size).prod())
    flat = latent @ getattr(gate, name).weight.T
    if gate.num_frames is None:
        return flat.reshape(*latent.shape[:2], *gate.kernel_size)
    if gate.temporal_decoder == 'additive':
        flat = flat[:, :, None, :] + (latent @ getattr(gate, f'{name}_time').weight.T)[:, :, :, None]
    flat = flat.reshape(*latent.shape[:2], gate.num_frames, n)
    frames = [flat[:, :, u].reshape(*latent.shape[:2], *gate.kernel_size) for u in range(gate.num_frames)]
    return torch.stack(frames, 1).flatten(0, 1)  # (N*T, C, *K)


def reference_gate(gate, x):
    """(B, C, *S) -> (G1, G2) for a ContextGate, step by step."""
    if gate.num_frames is not None:
        x = x.reshape(-1, gate.num_frames, *x.shape[1:]).transpose(1, 2)  # (N, C, T, H, W)
    pooled = POOLS[gate.pool, x.dim() - 2](x, gate.pool_size).flatten(2)
    z = pooled @ gate.context_encoding.weight.T
    g1 = g2 = None
    if gate.branches != 'out':
        g1 = _decode(gate, 'decode_in', _norm(z, gate.context_norm).relu())
    if gate.branches != 'in':
        if gate.separate_encoding:
            z = pooled @ gate.interact_encoding.weight.T
        c2 = _norm(z, getattr(gate, 'interact_norm', None) or gate.context_norm).relu()
        o = _norm(_interact(c2, gate.channel_interacting, gate.channel_groups), gate.interacted_norm).relu()
        g2 = _decode(gate, 'decode_out' if hasattr(gate, 'decode_out') else 'decode_in', o)
    return g1, g2
