"""The Triton kernels compile for GPUs that are not there, and the rule's tiles all but fit into registers.

With ``-s`` the slow test prints what each kernel needs.
"""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from mmcgc.layers.gate import ContextGate
from mmcgc.ops import triton_device
from mmcgc.ops.context import triton_context, triton_pool
from mmcgc.ops.conv import triton_conv

problem = triton_device.no_device('cpu', None, torch.float32)
if problem is None or 'TRITON_INTERPRET' not in problem:
    pytest.skip(problem or 'the interpreter compiles nothing', allow_module_level=True)
triton = pytest.importorskip('triton')
from triton.backends.compiler import GPUTarget  # noqa: E402

# in, out, kernel, input, stride, padding
LAYERS = {
    'stem': (3, 64, 7, 224, 2, 3),
    '56x56': (64, 64, 3, 56, 1, 1),
    '28x28': (128, 128, 3, 28, 1, 1),
    'halving': (256, 256, 3, 28, 2, 1),
    '7x7': (512, 512, 3, 7, 1, 1),
    'cifar': (16, 16, 3, 32, 1, 1),
}
# Bytes a thread at most, of the 1,020 of its registers; it varies with the version of Triton.  Without tensor cores
# the weight's gradient does not fit on sm_80.
SPILLED = dict(bf16=128, fp16=128, tf32=128, ieee=640)
CONVOLUTIONS = ['gated_conv', 'gated_conv', 'gated_conv_weight_grad']
POOLING = ['pool', 'pool_grad']
CONTEXT = ['encode', 'interact', 'decode', 'decode_grad', 'interact_grad', 'encode_grad', 'infer']
DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'tf32': torch.float32, 'ieee': torch.float32}


class Target:
    """A driver without a device: enough to compile, not to launch."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget('cuda', self.capability, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


class Compiler:
    """Stands in for a kernel: a launch compiles it for its arguments and keeps the binary."""

    def __init__(self, kernel, binaries):
        self.kernel, self.binaries = kernel, binaries

    def __getitem__(self, grid):
        return lambda *args, **kwargs: self.binaries.append(self.kernel.warmup(*args, grid=grid, **kwargs))


@pytest.fixture
def binaries(monkeypatch, tmp_path):
    from mmcgc.ops.context import triton_context_kernels, triton_pool_kernels
    from mmcgc.ops.conv import triton_kernels

    found = []
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    modules = {
        triton_kernels: ('gate_factors', *CONVOLUTIONS[1:]),
        triton_pool_kernels: POOLING,
        triton_context_kernels: CONTEXT,
    }
    for module, names in modules.items():
        for name in names:
            kernel = getattr(module, name)
            monkeypatch.setattr(kernel, 'device_caches', defaultdict(kernel.create_binder))
            monkeypatch.setattr(module, name, Compiler(kernel, found))
    return found


def aim(monkeypatch, capability):
    driver = triton.runtime.driver
    monkeypatch.setattr(driver, '_active' if hasattr(driver, '_active') else 'active', Target(capability))


def compile_layer(monkeypatch, layer, dtype, capability):
    """Forward pass, gradient of the input and gradient of the weight."""
    aim(monkeypatch, capability)
    monkeypatch.setattr(triton_conv, '_precision', lambda: 'ieee' if dtype == 'ieee' else 'tf32')
    monkeypatch.setattr(triton_conv, '_hopper', lambda _: dtype != 'ieee' and capability == 90)
    c, o, k, size, stride, padding = LAYERS[layer]
    out = (size + 2 * padding - k) // stride + 1
    x, weight, grad = (torch.empty(shape, dtype=DTYPES[dtype]).contiguous(memory_format=torch.channels_last)
                       for shape in [(2, c, size, size), (o, c, k, k), (2, o, out, out)])  # fmt: skip
    gates, geometry = (torch.empty(2, c, k, k), torch.empty(2, o, k, k)), ([stride] * 2, [padding] * 2, [1, 1])
    torch.ops.mmcgc.triton_conv(x, weight, *gates, None, *geometry)
    torch.ops.mmcgc.triton_conv_backward(grad, x, weight, *gates, *geometry, layer != 'stem', True)


def stack_bytes(binary, folder) -> int:
    """Local memory of a thread: what did not fit its registers."""
    tool = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'
    if not tool.exists():
        pytest.skip('this Triton brings no cuobjdump')
    (folder / 'kernel.cubin').write_bytes(binary.asm['cubin'])
    usage = subprocess.run([tool, '-res-usage', folder / 'kernel.cubin'], capture_output=True, text=True, check=True)
    return int(re.search(r'STACK:(\d+)', usage.stdout)[1])


def test_compiles_without_a_device(monkeypatch, binaries, tmp_path):
    compile_layer(monkeypatch, '7x7', 'bf16', 90)
    assert [binary.metadata.name for binary in binaries if 'wgmma' in binary.asm['ptx']] == CONVOLUTIONS
    assert max(stack_bytes(binary, tmp_path) for binary in binaries) <= SPILLED['bf16']


@pytest.mark.parametrize(
    'gate',
    [
        (64, 64, (3, 3)),
        pytest.param((3, 64, (7, 7)), marks=pytest.mark.slow),
        pytest.param((512, 512, (3, 3), 8), marks=pytest.mark.slow),
    ],
    ids=['3x3', 'stem', 'clip'],
)
def test_context_network_compiles_without_a_device(monkeypatch, binaries, tmp_path, gate):
    aim(monkeypatch, 90)
    gate = ContextGate(*gate)
    pooled = gate.context_encoding.in_features
    context = triton_pool.run(torch.zeros(16, gate.in_channels, 56, 56, requires_grad=True), (1, pooled))
    sum(t.sum() for t in triton_context.run(context, *gate._parts(), gate.channel_groups)).backward()
    with torch.no_grad():
        gate.eval()
        triton_context.run(context.detach(), *gate._parts(), gate.channel_groups)
    assert [binary.metadata.name for binary in binaries] == ['pool', *CONTEXT[:-1], 'pool_grad', 'infer']
    assert max(stack_bytes(binary, tmp_path) for binary in binaries) <= SPILLED['ieee']


@pytest.mark.slow
@pytest.mark.parametrize('capability', [80, 90])
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('layer', LAYERS)
def test_every_kernel_compiles_and_fits(monkeypatch, binaries, tmp_path, layer, dtype, capability):
    compile_layer(monkeypatch, layer, dtype, capability)
    phases = LAYERS[layer][4] ** 2 if layer != 'stem' else 0
    names = [binary.metadata.name for binary in binaries if 'mma' in binary.asm['ptx']]
    assert names == ([] if dtype == 'ieee' else ['gated_conv'] * (1 + phases) + CONVOLUTIONS[-1:])
    spilled = [stack_bytes(binary, tmp_path) for binary in binaries]
    for binary, bytes_spilled in zip(binaries, spilled, strict=True):
        if binary.metadata.name != 'gate_factors':
            print(
                f'{layer}, {dtype}, sm_{capability}: {binary.metadata.name} spills {bytes_spilled} bytes a thread, '
                f'takes {binary.metadata.shared} bytes of shared memory'
            )
    assert max(spilled) <= SPILLED[dtype]
