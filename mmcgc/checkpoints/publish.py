"""Turn a checkpoint into weights for others: a small, safe file with its checksum beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mmengine.runner.checkpoint import CheckpointLoader

from ..extras import import_extra
from ..whole_file import check_outputs, whole_file
from ..zoo import SCHEME, SUMS, WEIGHTS, read_sums
from .load import check_finite


def publish_weights(checkpoint: str | Path, name: str, folder: str | Path | None = None, half: bool = False) -> str:
    """Write the weights of a checkpoint to ``<folder>/<name>``, and that file's SHA256 to ``SHA256SUMS`` beside it.

    The file holds tensors and, as text, what the checkpoint says of its data set (names of classes, fingerprints of
    vocabularies), but nothing of the optimiser, of the config or of the machine.

    Args:
        checkpoint: What MMEngine loads: a path or an address.
        name: The name of the file, which ends in ``.safetensors``.
        folder: Where it goes; by default the folder that ships with the package.
        half: Whether floating-point tensors become float16, which halves the file; a model takes them in its own dtype.

    Returns:
        The address of the weights, ``mmcgc://<name>``, which a ``metafile.yml`` names.

    Raises:
        ValueError: If the name is no plain name of a ``.safetensors`` file, or a tensor holds NaN or infinity, or would
            in float16.
    """
    if Path(name).name != name or Path(name).suffix != '.safetensors':
        raise ValueError(f'the name must be that of a .safetensors file, without a folder, got {name!r}')
    folder = Path(folder or WEIGHTS)
    check_outputs([folder / name, folder / SUMS], [checkpoint])
    loaded = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
    state = {key: value.contiguous() for key, value in loaded.get('state_dict', loaded).items()}
    check_finite(state, str(checkpoint))
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
        check_finite(state, f'{checkpoint} in float16')
    meta = {key: value for key, value in (loaded.get('meta') or {}).get('dataset_meta', {}).items() if value}
    text = json.dumps(meta, default=list)
    content = import_extra('safetensors.torch').save(state, metadata=dict(format='pt', dataset_meta=text))
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / name) as part:
        part.write_bytes(content)
    sums = {**read_sums(folder), name: hashlib.sha256(content).hexdigest()}
    with whole_file(folder / SUMS) as part:
        part.write_text(''.join(f'{digest}  {file}\n' for file, digest in sorted(sums.items())), encoding='utf-8')
    return SCHEME + name
