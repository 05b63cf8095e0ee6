"""Train and test models of images, video and text, as ``tools/train.py`` and ``tools/test.py`` do."""

import copy
import difflib
import itertools
import os
from pathlib import Path

import mmengine
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, SyncBuffersHook
from mmengine.registry import MODELS, RUNNERS
from mmengine.runner import Runner

from ..checkpoints.latest import latest_checkpoint
from ..compat import widen_action_scores
from ..engine.amp import enable_amp
from ..engine.checkpoint_match import CheckpointMatchHook
from ..engine.clips import ClipsHook
from ..engine.cost import CostHook
from ..engine.each_sample_once import EachSampleOnceHook
from ..engine.gate_report import report_gates
from ..engine.loss_guard import LossGuardHook
from ..engine.position_seed import PositionSeedHook
from ..engine.resumed_state import ResumedAverageHook, ResumedStateHook
from ..engine.vocabulary_match import VocabularyMatchHook
from ..whole_file import check_outputs, whole_file
from .distributed import prepare_cpu_distributed
from .stop import clean_stop

_runner_numbers = itertools.count(1)


def train(
    config: str,
    *,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    no_validate: bool = False,
    auto_scale_lr: bool = False,
    no_pin_memory: bool = False,
    no_persistent_workers: bool = False,
    seed: int | None = None,
    deterministic: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> Runner:
    """Train the model of a config file.

    Checkpoints are written whole or not at all, and with a fixed seed a resumed run ends with the weights of an
    uninterrupted one; for that, workers of the training data start anew in every epoch.

    Args:
        config: Path of the config.
        work_dir: Where logs and checkpoints go; by default the config's, else ``work_dirs/<name of the config>``.
        resume: A checkpoint to resume from, or ``'auto'`` for the latest one in ``work_dir``; if there is none yet, the
            training starts as the config says.
        amp: Train in mixed precision, which is float16 with loss scaling on an accelerator and bfloat16 on the CPU.
        no_validate: Leave validation out.
        auto_scale_lr: Scale the learning rate by the real batch size over the config's ``base_batch_size``.
        no_pin_memory, no_persistent_workers: Turn these off in every data loader.
        seed, deterministic: Override the config's ``randomness``.
        cfg_options: Overrides of the config, ``{'a.b': value}``.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Returns:
        The runner after training.

    Raises:
        FileNotFoundError: If the config or a checkpoint is missing.
        ValueError: If an option does not go with the config, or a checkpoint does not fit the model or the training.
        FloatingPointError: If the loss is not finite; the error names the layer.
        OSError: If the disk is full; the error names the last good checkpoint.
        SystemExit: If Ctrl-C (status 130) or SIGTERM (143) stops the training.
    """
    cfg = load_config(config, work_dir, cfg_options, launcher)
    if no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if resume == 'auto' or (resume is None and cfg.get('resume') and not cfg.get('load_from')):
        latest = latest_checkpoint(cfg.work_dir)
        cfg.resume, cfg.load_from = latest is not None, latest or cfg.get('load_from')
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    if amp:
        enable_amp(_section(cfg, 'optim_wrapper', '--amp'))
    if auto_scale_lr:
        _section(cfg, 'auto_scale_lr', '--auto-scale-lr').enable = True
    given = dict(seed=seed, deterministic=deterministic or None)
    cfg.randomness = {**(cfg.get('randomness') or dict(seed=None)), **{k: v for k, v in given.items() if v is not None}}
    set_dataloader_defaults(cfg, no_pin_memory, no_persistent_workers)
    _section(cfg, 'train_dataloader', 'training').persistent_workers = False  # see PositionSeedHook
    _use_safe_checkpoint_hook(cfg)
    runner = build_runner(cfg, exact=cfg.get('resume', False))
    runner.register_hook(ResumedAverageHook())
    runner.register_hook(ResumedStateHook())
    runner.register_hook(SyncBuffersHook())  # otherwise each rank validates with its own running statistics
    runner.register_hook(LossGuardHook())
    runner.register_hook(PositionSeedHook())
    runner.register_hook(CostHook())
    with clean_stop(runner):
        runner.train()
    return runner


def test(
    config: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    out_item: str = 'pred',
    dump: str | None = None,
    amp: bool = False,
    tta: bool = False,
    show: bool = False,
    show_dir: str | None = None,
    interval: int = 1,
    wait_time: float = 2,
    no_pin_memory: bool = False,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> dict:
    """Test a checkpoint with its config file.

    Args:
        config, work_dir, no_pin_memory, cfg_options, launcher: As for :func:`train`.
        checkpoint: Path or address of the checkpoint; it must fit the model key by key.
        out, out_item: A file for the predictions (``'pred'``: .pkl) or the metrics (``'metrics'``: .json, .yaml, .pkl).
        dump: A .pkl file for the predictions.
        amp: Test in mixed precision.
        tta: Augment at test time by the config's ``tta_model`` and ``tta_pipeline``, for images by default flipping.
        show, show_dir, interval, wait_time: Draw every ``interval``-th sample in a window for ``wait_time`` seconds, or
            into a folder.

    Returns:
        The metrics.

    Raises:
        FileNotFoundError: If the config or the checkpoint is missing.
        ValueError: If an option does not go with the config, or the checkpoint does not fit the model.
        FloatingPointError: If a score is NaN or infinite.
    """
    cfg = load_config(config, work_dir, cfg_options, launcher)
    cfg.load_from, cfg.resume = checkpoint, False
    check_outputs(filter(None, (out, dump)), [config, checkpoint])
    metrics_file = out if out_item == 'metrics' else None
    if metrics_file:
        _check_suffix(metrics_file, '.json', '.yaml', '.yml', '.pkl', '.pickle')
    for predictions in filter(None, (dump, out if out_item == 'pred' else None)):
        _check_suffix(predictions, '.pkl', '.pickle')
        evaluator = _section(cfg, 'test_evaluator', '--out and --dump')
        evaluators = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
        cfg.test_evaluator = [*evaluators, dict(type='mmcgc.DumpWholeResults', out_file_path=predictions)]
    if amp:
        _section(cfg, 'test_cfg', '--amp').fp16 = True
    if show or show_dir:
        hook = _section(cfg.get('default_hooks') or {}, 'visualization', '--show and --show-dir')
        hook.update(enable=True, show=show, out_dir=show_dir, interval=interval, wait_time=wait_time)
    if tta:
        _augment_at_test_time(cfg)
    set_dataloader_defaults(cfg, no_pin_memory)
    metrics = build_runner(cfg, exact=True).test()
    if metrics_file:
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in metrics.items()}
        _write_metrics(plain, metrics_file)
    return metrics


@master_only
def _write_metrics(metrics: dict, path: str) -> None:
    with whole_file(path) as part:
        mmengine.dump(metrics, part)


def load_config(path: str, work_dir: str | None, cfg_options: dict | None, launcher: str) -> Config:
    """Load a config and settle its overrides, launcher and work_dir."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no config file {path!r} here ({os.getcwd()}); those of mmcgc lie under configs/')
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(cfg_options or {})
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or os.path.join('work_dirs', Path(path).stem)
    return cfg


def use_checked_image_loader(node) -> None:
    """Put mmcgc's LoadImageFromFile in the place of mmcv's, of which it is a subclass, in a part of a config."""
    if isinstance(node, dict) and node.get('type') in ('LoadImageFromFile', 'mmpretrain.LoadImageFromFile'):
        node['type'] = 'mmcgc.LoadImageFromFile'
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        use_checked_image_loader(item)


def set_dataloader_defaults(cfg: Config, no_pin_memory: bool = False, no_persistent_workers: bool = False) -> None:
    """Set in data loaders what mmpretrain's tools set, and let mmcgc's LoadImageFromFile read their pictures.

    The first concerns mmpretrain's scope, the second every scope.  Workers do not persist if there are none.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader is None:
            continue
        use_checked_image_loader(loader)
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', True)
        if no_pin_memory:
            loader.pin_memory = False
        if no_persistent_workers or not loader.get('num_workers'):
            loader.persistent_workers = False


def _use_safe_checkpoint_hook(cfg: Config) -> None:
    """Put :class:`SafeCheckpointHook` in the place of MMEngine's hook, which saves every epoch by default."""
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    hook = hooks.get('checkpoint', ConfigDict(type='CheckpointHook', interval=1)) if hooks is not None else None
    if hook is not None and hook.get('type') in ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook):
        hooks.checkpoint = dict(hook, type='mmcgc.SafeCheckpointHook')


def build_runner(cfg: Config, exact: bool) -> Runner:
    """Build the runner of a config; it refuses a checkpoint that does not fit (see :class:`CheckpointMatchHook`)."""
    check_outputs([cfg.work_dir], [])
    checkpoint = cfg.get('load_from')
    if checkpoint and ':' not in checkpoint and not os.path.isfile(os.path.expanduser(checkpoint)):
        raise FileNotFoundError(f'no checkpoint {checkpoint!r} here ({os.getcwd()})')
    prepare_cpu_distributed(cfg)
    _use_own_name(cfg)
    if cfg.filename and Path(cfg.filename).resolve() == Path(cfg.work_dir, Path(cfg.filename).name).resolve():
        cfg = Config(cfg.to_dict())  # without a name, so that MMEngine writes its copy beside the file and not over it
    try:
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    except KeyError as error:
        if 'Cannot find None' not in str(error):  # mmcv says this of an unknown layer, whose name it has lost
            raise
        raise ValueError(f'unknown layer in the model: {"; ".join(_unknown_layers(cfg.model))}') from error
    widen_action_scores()
    report_gates(runner.model, cfg.model)
    runner.register_hook(CheckpointMatchHook(exact))
    runner.register_hook(EachSampleOnceHook())
    runner.register_hook(VocabularyMatchHook(exact))
    if not any(isinstance(hook, ClipsHook) for hook in runner.hooks):
        runner.register_hook(ClipsHook())
    return runner


def _use_own_name(cfg: Config) -> None:
    """Add to the experiment's name the number of its runner in this process, from the second one on."""
    number = next(_runner_numbers)
    if number > 1:  # MMEngine lets runs of one name that start in one second share their log and best score
        cfg.experiment_name = f'{cfg.get("experiment_name") or Path(cfg.filename or "run").stem}_{number}'


def _unknown_layers(node, scope: str | None = None) -> list[str]:
    """List the layer types under a model's config that no registry knows, each with the nearest names."""
    if isinstance(node, (list, tuple)):
        return [name for item in node for name in _unknown_layers(item, scope)]
    if not isinstance(node, dict):
        return []
    scope = node.get('_scope_', scope)
    unknown = []
    for key, value in node.items():
        unknown += _unknown_layers(value, scope)
        kind = value.get('type') if key in ('conv_cfg', 'norm_cfg', 'act_cfg') and isinstance(value, dict) else None
        with MODELS.switch_scope_and_registry(scope) as registry:
            if isinstance(kind, str) and registry.get(kind) is None:
                near = difflib.get_close_matches(kind, {*registry.module_dict, *MODELS.module_dict})
                unknown.append(f'{key} has type={kind!r}, the nearest known names are {", ".join(near) or "none"}')
    return unknown


def _augment_at_test_time(cfg: Config) -> None:
    pipeline = cfg.test_dataloader.dataset.pipeline
    if 'tta_pipeline' not in cfg or 'tta_model' not in cfg:
        if cfg.get('default_scope') != 'mmpretrain':
            raise ValueError('--tta: the config lacks tta_model or tta_pipeline; flipping is for images only')
        cfg.setdefault('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        augment = dict(type='TestTimeAug', transforms=[flips, [copy.deepcopy(pipeline[-1])]])
        cfg.setdefault('tta_pipeline', [*copy.deepcopy(pipeline[:-1]), augment])
    cfg.model = ConfigDict(cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def _section(cfg: Config | dict, name: str, option: str):
    """Return the part of the config that a command-line option changes; raise ValueError if the config lacks it."""
    if cfg.get(name) is None:
        raise ValueError(f'{option}: the config has no {name!r} to change')
    return cfg[name]


def _check_suffix(path: str, *suffixes: str) -> None:
    if Path(path).suffix not in suffixes:
        raise ValueError(f'cannot write {path!r}: expected a name ending in {", ".join(suffixes)}')
