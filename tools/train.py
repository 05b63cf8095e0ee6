"""Train a model of images, video or text."""

import argparse
import os

from mmengine.config import DictAction

from mmcgc.apis import launch
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint, or from the latest one in the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--no-validate', action='store_true', help='leave validation out')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the real batch size')
    parser.add_argument('--no-pin-memory', action='store_true', help='turn pin_memory off in data loaders')
    parser.add_argument('--no-persistent-workers', action='store_true', help='turn persistent_workers off')
    parser.add_argument('--seed', type=int, help='random seed')
    parser.add_argument('--deterministic', action='store_true', help='deterministic algorithms of cuDNN')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override parts of the config, e.g. train_cfg.max_epochs=2 model.head.topk="(1,)"',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch')
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())
    os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
    with plain_errors():
        launch.train(**args)


if __name__ == '__main__':
    main()
