"""Translate the keys of a ResNet and of its gates from the layout of one library to that of another.

All keys are read into common names, those of torchvision with the gate's as in :class:`mmcgc.layers.ContextGate`, and
written from there.  Sources: ``state_dict`` of the networks of torchvision 0.28, timm 1.0 (the same names), mmpretrain
1.2 and mmaction2 1.2; for the authors' networks the names of their released modules.
"""

import re
from collections.abc import Iterable

_BLOCK = r'(?:layer\d+\.\d+\.)?'
_RESNET = re.compile(
    rf'{_BLOCK}(?:conv\d+|downsample\.0)\.(?:weight|bias|gate\.\w+\.\w+)'
    rf'|{_BLOCK}(?:bn\d+|downsample\.1)\.(?:weight|bias|running_mean|running_var|num_batches_tracked)'
    r'|fc\.(?:weight|bias)'
)

# The authors' name of each module of the gate.
_AUTHORS = dict(
    context_encoding='ce',
    context_norm='ce_bn',
    interact_norm='ci_bn2',
    channel_interacting='ci',
    interacted_norm='ci_bn',
    decode_in='gd',
    decode_out='gd2',
)

_READ = [
    (r'^module\.', ''),  # left by (Distributed)DataParallel
    (r'^(?:head\.fc|cls_head\.fc_cls)\.', 'fc.'),
    (r'^backbone\.', ''),
    (r'^(layer\d+\.\d+)\.(?:(?:net|block)\.)+', r'\1.'),  # mmaction2's shift and non-local wrappers of a block
    (rf'^({_BLOCK}conv\d+)\.conv\.(?:net\.)?', r'\1.'),  # mmcv's ConvModule, inside it TSM's shift
    (rf'^({_BLOCK})conv(\d+)\.bn\.', r'\1bn\2.'),
    (r'^(layer\d+\.\d+\.downsample)\.conv\.', r'\1.0.'),
    (r'^(layer\d+\.\d+\.downsample)\.bn\.', r'\1.1.'),
    *((rf'^({_BLOCK}conv\d+)\.{theirs}\.', rf'\1.gate.{ours}.') for ours, theirs in _AUTHORS.items()),
]

_WRITE = {
    'torchvision': [],
    'timm': [],
    'authors': [(rf'\.gate\.{ours}\.', f'.{theirs}.') for ours, theirs in _AUTHORS.items()],
    'mmpretrain': [(r'^fc\.', 'head.fc.'), (r'^(?!head\.)', 'backbone.')],
    'mmaction2': [
        (rf'^({_BLOCK}conv\d+)\.', r'\1.conv.'),
        (rf'^({_BLOCK})bn(\d+)\.', r'\1conv\2.bn.'),
        (r'^(layer\d+\.\d+\.downsample)\.0\.', r'\1.conv.'),
        (r'^(layer\d+\.\d+\.downsample)\.1\.', r'\1.bn.'),
        (r'^fc\.', 'cls_head.fc_cls.'),
        (r'^(?!cls_head\.)', 'backbone.'),
    ],
}
LAYOUTS = tuple(_WRITE)
OPENMMLAB = ('mmpretrain', 'mmaction2')


def read_key(key: str) -> str:
    """Return the common name of a key of any layout; a key of anything but a ResNet only loses its prefix."""
    return _substitute(key, _READ)


def write_key(name: str, layout: str) -> str | None:
    """Return the key of ``layout`` for a common name, or None if the layout has no such key."""
    if not is_resnet(name):
        return None
    key = _substitute(name, _WRITE[layout])
    return None if layout == 'authors' and '.gate.' in key else key


def is_resnet(name: str) -> bool:
    """Tell whether a common name is one of a plain or gated ResNet."""
    return _RESNET.fullmatch(name) is not None


def detect_layout(keys: Iterable[str]) -> str:
    """Return the name of the layout that the keys are in, for a report.

    Raises:
        ValueError: If no key is one of a ResNet in any layout.
    """
    keys = [key.removeprefix('module.') for key in keys]
    names = [read_key(key) for key in keys]
    if not any(map(is_resnet, names)):
        raise ValueError(
            f'unknown layout: no key is one of a ResNet of {", ".join(LAYOUTS)}; the keys are '
            f'{", ".join(keys[:4]) or "none"}{", ..." if len(keys) > 4 else ""}'
        )
    if any(re.search(r'\bconv\d+\.conv\.', key) for key in keys):
        return 'mmaction2'
    if any(key.startswith('backbone.') for key in keys):
        return 'mmpretrain'
    if any(key != name and '.gate.' in name for key, name in zip(keys, names, strict=True)):
        return 'authors'
    return 'torchvision'


def _substitute(text: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text
