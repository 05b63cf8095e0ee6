"""Refuse checkpoints that do not fit the model or differ between ranks; MMEngine loads what fits and logs the rest."""

import re
from collections import OrderedDict
from collections.abc import Sequence

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from ..checkpoints.load import check_finite, first_keys

_ANOTHER_LAYOUT = 'a checkpoint of another library or layout is mapped by tools/convert_checkpoint.py'


class CheckpointMatchHook(Hook):
    """Raise ValueError, on every rank, if a loaded checkpoint does not fit the model or holds NaN or infinity.

    It is raised too if ranks have resumed from different checkpoints, because machines do not share the work directory.

    Args:
        exact: Whether every key must be there with its shape (test, resume), or one matching key is enough
            (fine-tuning: the gates of a context-gated network and a new head may start afresh).
    """

    priority = 'LOWEST'  # so that the hook sees the checkpoint as the other hooks leave it

    def __init__(self, exact: bool):
        self.exact = exact

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        state = checkpoint.get('state_dict', checkpoint)
        missing, unexpected, misshaped = _differences(model, state)
        source = runner._load_from or 'the latest checkpoint'
        check_finite(state, source)
        if self.exact and (missing or unexpected or misshaped):
            raise ValueError(
                f'{source} does not fit {type(model).__name__}: {_some(missing)} missing, '
                f'{_some(unexpected)} unexpected, {_some(misshaped)} of another shape. '
                f'Use the config (and --cfg-options) that wrote it; {_ANOTHER_LAYOUT}; '
                'to start a training from whatever fits, drop --resume and set load_from'
            )
        if len(missing) + len(misshaped) == len(_tracked(model.state_dict())):
            raise ValueError(
                f'nothing in {source} fits {type(model).__name__}: the model has keys such as '
                f'{_some(missing + misshaped)}, the checkpoint {_some(list(state))}; {_ANOTHER_LAYOUT}'
            )

    def before_train(self, runner) -> None:
        iterations = all_gather_object(runner.iter)
        if len(set(iterations)) > 1:
            raise ValueError(
                f'the ranks go on from different places, iterations {iterations}: put the work directory '
                'on a disk that all machines share, or copy the latest checkpoint and last_checkpoint '
                'from the first machine into those of the others'
            )


def _differences(model: nn.Module, state: dict) -> tuple[list[str], list[str], list[str]]:
    """Return the keys that are missing, unexpected and of another shape when ``state`` is loaded into ``model``.

    They are found by loading, so that the modules' own hooks for old or resized checkpoints take part.
    """
    stripped = OrderedDict((re.sub(r'^module\.', '', key), value) for key, value in state.items())
    stripped._metadata = getattr(state, '_metadata', OrderedDict())
    found = []
    handle = model.register_load_state_dict_post_hook(lambda module, keys: found.append(keys))
    misshaped = []
    try:
        model.load_state_dict(stripped, strict=False)
    except RuntimeError as error:
        misshaped = re.findall(r'size mismatch for (\S+):', str(error))
        if not misshaped:
            raise ValueError(f'the checkpoint cannot be loaded into {type(model).__name__}: {error}') from error
    finally:
        handle.remove()
    return _tracked(found[-1].missing_keys), list(found[-1].unexpected_keys), misshaped


def _tracked(keys) -> list[str]:
    """Return the keys without the norms' counters of batches, which old checkpoints lack and MMEngine ignores too."""
    return [key for key in keys if 'num_batches_tracked' not in key]


def _some(keys: Sequence[str]) -> str:
    return f'{len(keys)} ({first_keys(keys)})' if keys else '0'
