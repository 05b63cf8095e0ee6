"""Use torch.distributed with gloo if there is no accelerator; MMEngine would set a CUDA device all the same.

MMEngine calls ``torch.cuda.set_device`` whatever the backend is (``mmengine/dist/utils.py`` of 0.10.7) and gives its
model wrapper ``device_ids``; both are left to MMEngine if there is an accelerator.
"""

import os
import subprocess
from datetime import timedelta

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODEL_WRAPPERS
from torch.nn.parallel import DistributedDataParallel

_VARIABLES = {  # the names that each launcher gives to RANK, WORLD_SIZE and LOCAL_RANK
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def prepare_cpu_distributed(cfg: Config) -> None:
    """Join the gloo group and set ``cfg.model_wrapper_cfg`` for the CPU; do nothing with an accelerator or if alone.

    Raises:
        ValueError: If the launcher has not set the variables that say which rank this process is.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or get_device() != 'cpu':
        return
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    os.environ.update(_rank_variables(launcher))
    os.environ.update(_master_variables(launcher, dist_cfg))
    timeout = dist_cfg.get('timeout')
    dist.init_process_group('gloo', timeout=timeout and timedelta(seconds=timeout))

    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:  # MMEngine passes these if the config says nothing
        unused = cfg.get('find_unused_parameters', False)
        wrapper = dict(broadcast_buffers=False, find_unused_parameters=unused)
    kind = wrapper.get('type', 'MMDistributedDataParallel')
    if issubclass(MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind, DistributedDataParallel):
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def _rank_variables(launcher: str) -> dict[str, str]:
    names = _VARIABLES[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f'--launcher {launcher}: the environment lacks {", ".join(missing)}; start through '
            'tools/dist_*.sh (pytorch), tools/slurm_*.sh (slurm) or mpirun (mpi)'
        )
    return dict(zip(_VARIABLES['pytorch'], (os.environ[name] for name in names), strict=True))


def _master_variables(launcher: str, dist_cfg: dict) -> dict[str, str]:
    """Return the variables that say where rank 0 listens, found as MMEngine finds them."""
    address, port = os.environ.get('MASTER_ADDR'), os.environ.get('MASTER_PORT', '29500')
    if launcher == 'slurm':
        port = str(dist_cfg.get('port', port))
        address = address or _first_host(os.environ.get('SLURM_NODELIST', ''))
    if address is None:
        raise ValueError(f'--launcher {launcher}: the environment lacks MASTER_ADDR, the host of rank 0')
    return dict(MASTER_ADDR=address, MASTER_PORT=port)


def _first_host(node_list: str) -> str:
    try:
        hosts = subprocess.check_output(['scontrol', 'show', 'hostnames', node_list], text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f'--launcher slurm: scontrol cannot name the hosts of {node_list!r} ({error}); '
            'set MASTER_ADDR to the host of rank 0'
        ) from error
    return hosts.split()[0]
