"""Describe what is installed here as text: versions, backends, extras, tools, configs and weights."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from . import zoo
from .extras import EXTRAS
from .ops.conv.functional import BACKENDS
from .version import __version__

LIBRARIES = ('torch', 'mmengine', 'numpy', 'mmcv', 'mmcv-lite')
DISTRIBUTIONS = {'mmaction': 'mmaction2', 'sklearn': 'scikit-learn', 'pytorch_grad_cam': 'grad-cam'}


def info() -> str:
    """Return the versions, then whether each backend can run and why not, then the packages of each extra."""
    lines = [f'mmcgc {__version__}, Python {platform.python_version()}']
    lines += [f'  {name}: {_version(name)}' for name in LIBRARIES]
    for device in ('cpu', *(['cuda'] if torch.cuda.is_available() else [])):
        lines.append(f'backends on {device}')
        lines += [f'  {name}: {_reason(name, device) or "can run"}' for name in BACKENDS]
    lines.append('extras')
    for extra, packages in EXTRAS.items():
        found = {package: _version(DISTRIBUTIONS.get(package, package)) for package in packages}
        complete = 'complete' if 'missing' not in found.values() else f"pip install 'mmcgc[{extra}]'"
        lines.append(f'  {extra}: {complete} ({", ".join(f"{name} {number}" for name, number in found.items())})')
    return '\n'.join(lines)


def configs() -> str:
    """Return the name of every config, one a line, in the form ``mmcgc::name``."""
    folder = zoo.root() / 'configs'
    found = sorted(path.relative_to(folder) for path in folder.rglob('*.py') if '_base_' not in path.parts)
    return '\n'.join(f'mmcgc::{path.as_posix()}' for path in found)


def tools() -> str:
    """Return the path of every tool, one a line."""
    found = sorted(path for path in (zoo.root() / 'tools').rglob('*') if path.suffix in ('.py', '.sh'))
    return '\n'.join(map(str, found))


def weights() -> str:
    """Return the models whose weights ship with the package, one a line, each with the address of its weights."""
    found = [f'{name}  {model["Weights"]}' for name, model in zoo.models().items() if model['Weights']]
    return '\n'.join(found) or 'No weights ship with this version.'


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return 'missing'


def _reason(name: str, device: str) -> str | None:
    """Tell why a backend cannot run a small gated convolution on a device, or return None if it can."""
    x, weight = torch.zeros(1, 16, 8, 8, device=device), torch.zeros(16, 16, 3, 3, device=device)
    gate = torch.zeros(1, 16, 3, 3, device=device)
    return BACKENDS[name].can_run(x, weight, gate, gate, None, (1, 1), (1, 1), (1, 1), 1, 'sum')
