"""What several processes on CPUs need of their environment."""

import os

import mmengine
import pytest
from mmengine.device import get_device

from mmcgc.apis import distributed


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
@pytest.mark.skipif(get_device() != 'cpu', reason='about machines without an accelerator')
def test_a_launcher_without_its_environment_is_explained(monkeypatch, launcher):
    for name in distributed._VARIABLES[launcher]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f'--launcher {launcher}: the environment lacks'):
        distributed.prepare_cpu_distributed(mmengine.Config(dict(launcher=launcher)))


def test_slurm_asks_scontrol_for_the_first_host(monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[7-8]" ] && printf "node7\\nnode8\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('SLURM_NODELIST', 'node[7-8]')
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    monkeypatch.delenv('MASTER_PORT', raising=False)
    assert distributed._master_variables('slurm', dict(port=1234)) == dict(MASTER_ADDR='node7', MASTER_PORT='1234')
