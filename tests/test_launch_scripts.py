"""The shell scripts that launch several processes."""

import os
import subprocess

import pytest
from helpers import ROOT


@pytest.mark.parametrize('gpus', ['0', '4'])
@pytest.mark.parametrize('name', ['slurm_train.sh', 'slurm_test.sh'])
def test_slurm_scripts_pass_their_arguments(tmp_path, name, gpus):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    environment = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS=gpus, SRUN_ARGS='--mem 4G', TASKS='3')
    done = subprocess.run(
        ['bash', ROOT / 'tools' / name, 'cpu part', 'job', 'a config.py', 'there', '--cfg-options', 'a="b c"'],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert '--partition=cpu part' in lines and 'a config.py' in lines and lines[-2:] == ['--cfg-options', 'a="b c"']
    assert lines[lines.index('--mem') + 1] == '4G'
    assert any(line.startswith('--gres') for line in lines) == (gpus != '0')
    assert f'--ntasks={3 if gpus == "0" else 4}' in lines


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_scripts_say_how_to_call_them(name):
    done = subprocess.run(['bash', ROOT / 'tools' / name], capture_output=True, text=True)
    assert done.returncode == 2 and f'tools/{name}' in done.stderr
