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
from documented_commands import COMMANDS, RESOLVED, output, resolve, shortened
from helpers import ROOT, free_port, tool_environment
from mmengine.config import Config
from mmengine.registry import MODELS
from test_docs import blocks, expand

from mmcgc.checkpoints.convert import convert_state
from mmcgc.checkpoints.latest import latest_checkpoint
from mmcgc.datasets.clip_writer import write_clip

QUICK = re.compile(r'get_complexity\.py CONFIG|plot_benchmark.*--layers')

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
        """Make what a word of a command names, if it can be made; a config's data too."""
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
