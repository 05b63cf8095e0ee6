"""Every command of the pages runs: as it stands there, but on little or fabricated data, for a step or an epoch.

A command brings what it needs with it: an archive that must be downloaded is fabricated, and what another documented
command makes (a data set, a checkpoint, a table) is made by that command first.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import stand_ins
import torch
from helpers import ROOT, free_port, tool_environment
from mmengine.config import Config
from mmengine.registry import MODELS
from test_docs import PAGES, blocks, commands, expand

from mmcgc.checkpoints.convert import convert_state
from mmcgc.checkpoints.latest import latest_checkpoint
from mmcgc.datasets.clip_writer import write_clip

# Spans of text that are commands: with arguments, and without a pattern or an ellipsis.
SPAN = re.compile(r'`((?:\w+=\S+ )*(?:python|tools/\w+\.sh)\s[^`]*\s[^`*]*)(?<!\.\.\.)`')


def commands_of(page: str) -> list[str]:
    prose = re.sub(r'^```.*?^```$', '', PAGES[page], flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r'\s+', ' ', command) for command in [*commands(page), *SPAN.findall(prose)]]


COMMANDS = list(
    dict.fromkeys(
        command
        for page in PAGES
        for command in commands_of(page)
        if not command.startswith(('pip install ', 'mim ', 'sphinx-build '))
    )
)  # test_docs.py looks at those

MULTI30K = 'work_dirs/cgc-lightconv_1xt4k-1k_multi30k-de-en'
CONFIGS = {  # what CONFIG stands for; the first pattern counts
    'translat': 'configs/translation/multi30k/cgc-lightconv_1xt4k-1k_multi30k-de-en.py',
    'demo_video': 'configs/quickstart/tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py',
    '': 'configs/quickstart/cgc-resnet20_1xb32-10e_digits.py',
}
REPLACED = {  # what stands for something else on the pages, and what is not at hand
    r'/usr/bin/time -v ': '',
    r'--device cuda': '--device cpu',
    r' --cuda-graphs': '',
    r'(compare\.py .*--seeds 0) 1( 2)?': r'\1',
    r' --draw-only': '',  # the runs may be absent
    r'(python -m pytest .*test_triton_)': r'TRITON_INTERPRET=1 \1',
    r'(NNODES=.* )MASTER_ADDR=\S+ (.*) 8\b': r'\1MASTER_ADDR=127.0.0.1 \2 1',
    r'(dist_\w+\.sh .*) (8|N)\b': r'\1 2',
    r'\b(MASTER_)?PORT=\d+ ': '',  # a free one is given
    r'(average_checkpoints\.py) WORK_DIR': rf'\1 {MULTI30K}',
    r'\bAVERAGE\b': f'{MULTI30K}/average.pth',
    r'\bVIDEO\b': 'video.mp4',
    r'(prepare_sthv1.*) FOLDER\b': r'\1 FRAMES',
}

PHASES = ('train', 'val', 'test')
FEW = ' '.join(f'{phase}_dataloader.dataset.indices={{0}}' for phase in PHASES).format
OPTIONS = {  # few samples, small networks, no download: options of the configs, by a part of their path
    'configs/|my_config': ' '.join(f'{phase}_dataloader.num_workers=0' for phase in PHASES),
    r'resnet20\S+_digits': FEW(40),
    'moving-digits': ' '.join(f'{phase}_dataloader.dataset.num_clips=16' for phase in PHASES),
    'resnet110': 'model.backbone.depth=8',
    r'imagenet/|my_config': f'{FEW(2)} train_dataloader.batch_size=1',
    r'resnet50_1xb64\S+_imagenette': FEW(2),
    'sthv1': f'{FEW(2)} train_dataloader.batch_size=1 model.backbone.pretrained=None',
    r'tsm\S*_(imagenet|r18_)': 'model.backbone.pretrained2d=False',
    'p3d': 'test_dataloader.dataset.pipeline.0.num_clips=1',
    'translation/|number-words': 'train_cfg.max_iters=10 train_cfg.val_interval=10 model.search.beam=1 '
    'default_hooks.checkpoint.interval=1 default_hooks.checkpoint.save_optimizer=False',
}
FROM_CONFIGS = object()

SHORT = {  # what is appended to a command; the first pattern counts, and a command without one fails
    r'(train|test)\.(py|sh)|tools/compare|demo_video': FROM_CONFIGS,
    r'analyze_gates|plot_kernels_history|show_(gates|grad_cam)': FROM_CONFIGS,
    'kill_and_resume': '--kills 2 --cfg-options model.backbone.depth=8',
    '-m pytest': '-n 0 --collect-only',  # the tests cannot run themselves
    'make_camera_motion': '--train-clips 8 --val-clips 8',
    'prepare_imagenette': '--partial',
    r'prepare_iwslt14\.py .*--tokenised': '--out data/tokenised',  # other words than the raw text, which is in use
    'prepare_(cifar10|sthv1|iwslt14)': '',
    r'average_checkpoints|convert_checkpoint|translate\.py': '',
    'benchmark_gpu': 'cpu',
    'benchmark_translation': '--sentences 2 --repeats 1 --beam 1 --length 3',
    'benchmark_video_loading': '--clips 2 --repeats 2',
    r'benchmark\.py configs/(classification|quickstart)': '--batch 1 --repeats 1 --shape 64',
    r'benchmark\.py configs/action/p3d': '--batch 1 --repeats 1 --shape 32 32 32',
    r'benchmark\.py configs/action': '--batch 1 --repeats 1 --shape 8 32 32',
    r'benchmark\.py configs/translation': '--batch 2 --repeats 1 --shape 9',
    'check_networks': '--source torchvision squeezenet1_1',  # the others may not be installed
    'get_complexity|paper_tables|plot_(benchmark|curves|gate_history)': '',
}
QUICK = re.compile(r'get_complexity\.py CONFIG|plot_benchmark.*--layers')

OUTPUTS = {  # what a command makes; the first pattern counts
    r'--(?:work-dir|out|csv) (\S+)': r'\1',
    r'slurm_train\.sh \S+ \S+ \S+ (\S+)': r'\1',
    r'train\.(?:py|sh) (?:\S*/)?([\w-]+)\.py': r'work_dirs/\1',
    r'convert_checkpoint\.py \S+ (\S+)': r'\1',
    r'average_checkpoints\.py (\S+)': r'\1/average.pth',
    r'data/prepare_(\w+)': r'data/\1',
}

CIFAR_PER_BATCH = 20
# Runs the tool as if the fabricated archive were the published one.
PREPARE_CIFAR10 = f"""
import runpy, sys
from mmcgc.datasets import prepare_cifar10 as module
module.PER_BATCH, module.CIFAR10.tgz_md5 = {CIFAR_PER_BATCH}, module.calculate_md5(sys.argv[2])
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""

SRUN = """#!/bin/bash
# Two tasks on this machine.
while [[ $1 == --* ]]; do shift; done
export SLURM_NTASKS=2 SLURM_NODELIST=localhost
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
wait $first && wait $second
"""


def cifar_archive(path: Path) -> None:
    count = 6 * CIFAR_PER_BATCH
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    stand_ins.cifar_archive(path, images, np.arange(count) % 10)


def imagenet(folder: Path) -> None:
    """Photographs in ten of a thousand classes."""
    stand_ins.write_folder(folder, stand_ins.imagenette_files(size=(80, 96)))
    for split in ('train', 'val'):
        for i in range(990):
            (folder / split / f'n{i:08}').mkdir()


def photographs(folder: Path) -> None:
    stand_ins.write_folder(folder, {f'{i}.jpg': stand_ins.picture(i, size=(80, 96)) for i in range(4)})


def clip(path: Path) -> None:
    write_clip(path, np.random.default_rng(0).integers(0, 256, (9, 80, 96, 3), dtype=np.uint8))


def clips(folder: Path) -> None:
    folder.mkdir()
    for name in stand_ins.STHV1_FRAMES:
        clip(folder / f'{name}.mp4')


def archive_of(make: Callable, mode: str) -> Callable:
    return lambda path: stand_ins.tar_folder(path, make(path.with_name(f'{path.name}-unpacked')), 'de-en', mode)


def resnet50(path: Path) -> None:
    import torchvision

    torch.save(torchvision.models.resnet50().state_dict(), path)


def authors(path: Path) -> None:
    """A gated ResNet-50 with the names of the paper's authors."""
    config = Config.fromfile(ROOT / 'configs/classification/imagenet/cgc-resnet50_8xb32_in1k.py')
    with MODELS.switch_scope_and_registry('mmpretrain') as registry:
        torch.save(convert_state(registry.build(config.model).state_dict(), to='authors').state, path)


def my_config(path: Path) -> None:
    path.write_text(blocks('docs/your-model.md', 'python')[0])


STAND_INS = {
    'cifar-10-python.tar.gz': cifar_archive,
    'imagenette2-160.tgz': lambda path: stand_ins.write_tar(path, stand_ins.imagenette_files(size=(80, 96))),
    'de-en.tgz': archive_of(stand_ins.iwslt_folder, 'w:gz'),
    'iwslt14.tokenized.de-en.tar.xz': archive_of(stand_ins.tokenised_text, 'w:xz'),
    'path/to/multi30k': lambda path: stand_ins.parallel_text(path, valid='val', test='test_2016_flickr'),
    'data/imagenet': imagenet,
    'data/objectnet': lambda path: stand_ins.write_folder(path, stand_ins.objectnet_files()),
    'my_pictures/': photographs,
    'LABELS': stand_ins.sthv1_labels,
    'FRAMES': lambda path: stand_ins.sthv1_frames(path, stand_ins.picture(3, size=(80, 96))),
    'VIDEOS': clips,
    'FOLDER': clips,
    'video.mp4': clip,
    'resnet50.pth': resnet50,
    'authors.pth': authors,
    'my_config.py': my_config,
}


def first_match(table: dict, command: str):
    """(value, match) of the first pattern that a command has; (None, None) where it has none."""
    found = ((value, re.search(pattern, command)) for pattern, value in table.items())
    return next((pair for pair in found if pair[1]), (None, None))


def output(command: str) -> str | None:
    template, match = first_match(OUTPUTS, command)
    return match.expand(template) if match else None


def resolve(command: str) -> str:
    """With files and folders in the place of CONFIG and the like, but for CHECKPOINT."""
    for pattern, text in {**REPLACED, r'\bCONFIG\b': first_match(CONFIGS, command)[0]}.items():
        command = re.sub(pattern, text, command)
    return command


RESOLVED = [resolve(command) for command in COMMANDS]


def last_epoch(work_dir: str) -> int:
    """The last epoch whose checkpoint a command reads."""
    return max([1, *(int(n) for command in COMMANDS for n in re.findall(rf'{work_dir}/epoch_(\d+)\.pth', command))])


def shortened(command: str) -> str:
    addition, match = first_match(SHORT, command)
    assert match, f'nothing says how to run {command!r} in short'
    if addition is not FROM_CONFIGS:
        return f'{command} {addition}'
    options = [text for pattern, text in OPTIONS.items() if re.search(pattern, command)]
    if re.search('train|compare', match[0]) and 'max_iters' not in ' '.join(options):
        options.append(f'train_cfg.max_epochs={last_epoch(output(command))}')
    return f'{command} --cfg-options {" ".join(options)}'


class Stand:
    """A folder that looks like the repository, and what was run there."""

    def __init__(self, root: Path):
        self.root, self.failures = root, {}
        for name in ('configs', 'docs', 'mmcgc', 'pyproject.toml', 'tests', 'tools'):
            (root / name).symlink_to(ROOT / name)
        (root / 'bin').mkdir()
        (root / 'bin/srun').write_text(SRUN)
        (root / 'bin/srun').chmod(0o755)
        environment = tool_environment(SimpleNamespace(root=root))
        self.environment = dict(environment, PATH=f'{root}/bin{os.pathsep}{environment["PATH"]}')

    def run(self, command: str) -> None:
        """Once, after what it needs."""
        if command not in self.failures:
            self.failures[command] = 'what it needs could not be made'
            self.failures[command] = self._run(command)
        assert not self.failures[command], f'{command}\n{self.failures[command]}'

    def _run(self, command: str) -> str:
        for word in expand(self._arguments(command)[1], self.environment):
            if word != output(command):
                self.make(word)
        short = shortened(self._with_checkpoint(command))
        nodes = {short, short.replace('NODE_RANK=0', 'NODE_RANK=1'), short.replace('NODE_RANK=1', 'NODE_RANK=0')}
        ports = dict(MASTER_ADDR='127.0.0.1', PORT=free_port(), MASTER_PORT=free_port())
        with ThreadPoolExecutor() as pool:
            results = list(pool.map(lambda node: self._start(node, ports), nodes))
        failed = [text for status, text in results if status]
        made = output(short)
        if not failed and made and not (self.root / made).exists():
            failed = [f'{made} is not there']
        return '\n'.join(failed)

    def _start(self, command: str, ports: dict) -> tuple[int, str]:
        assignments, rest = self._arguments(command)
        environment = {**self.environment, **ports, **assignments}
        words = expand(rest, environment)
        if 'prepare_cifar10' in command:
            words[1:1] = ['-c', PREPARE_CIFAR10]
        done = subprocess.run(
            words,
            cwd=self.root,
            env=environment,
            input='Der Hund.\n',
            text=True,
            timeout=900,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.returncode, f'{shlex.join(words)}\n{done.stdout[-3000:]}'

    def make(self, path: str) -> None:
        """Make what a word of a command names, where that can be made; a config's data too."""
        path = path.removeprefix('load_from=')
        if not (self.root / path).exists():
            if path in STAND_INS:
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                STAND_INS[path](self.root / path)
            elif maker := self._maker(path):
                self.run(maker)
        if path.startswith(('configs/', 'my_config')):
            for folder in sorted(set(re.findall(r'\bdata/\w+', str(Config.fromfile(self.root / path).to_dict())))):
                self.make(folder)

    @staticmethod
    def _maker(path: str) -> str | None:
        """The first command that makes a path, else the folder it lies in; seeds beyond those of the pages too."""
        seeds = ['0', *re.findall(r'seed(\d)', path)]
        makers = [
            command.replace('seed0', f'seed{seed}').replace('--seed 0', f'--seed {seed}')
            for seed in seeds
            for command in RESOLVED
        ]
        makers = [command for command in makers if path.startswith(f'{output(command)}/') or path == output(command)]
        return max(makers, key=lambda command: len(output(command)), default=None)

    @staticmethod
    def _arguments(command: str) -> tuple[dict, str]:
        assignments, rest = re.fullmatch(r'((?:\w+=\S+ )*)(.*)', command).groups()
        return dict(word.split('=', 1) for word in assignments.split()), rest

    def _with_checkpoint(self, command: str) -> str:
        """With the latest checkpoint of the config's training for CHECKPOINT, for ObjectNet that on ImageNet."""
        if 'CHECKPOINT' not in command:
            return command
        config = re.search(r'configs/\S+', command)[0]
        work_dir = f'work_dirs/{Path(config).stem.removesuffix("-objectnet")}'
        self.make(work_dir)
        return command.replace('CHECKPOINT', os.path.relpath(latest_checkpoint(self.root / work_dir), self.root))


@pytest.fixture(scope='module')
def stand(tmp_path_factory) -> Stand:
    return Stand(tmp_path_factory.mktemp('stand'))


def case(command: str):
    return pytest.param(
        command, id=re.sub(r'[\w./-]+/(?=\w)', '', command), marks=[] if QUICK.search(command) else pytest.mark.slow
    )


@pytest.mark.parametrize('command', map(case, COMMANDS))
def test_a_command_runs(stand, command):
    stand.run(resolve(command))


def test_a_command_that_nothing_knows_is_noticed():
    with pytest.raises(AssertionError, match='nothing says how to run'):
        shortened('python tools/unheard_of.py')


def test_a_command_that_fails_is_noticed(stand):
    with pytest.raises(AssertionError, match='error: .*something-something-v1-labels.csv is missing'):
        stand.run('python tools/data/prepare_sthv1.py nowhere --frames FRAMES')
