"""Test a checkpoint of a model of images, video or text."""

import argparse
import os

from mmengine.config import DictAction

from mmcgc.apis import launch
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    parser.add_argument('--work-dir', help='where logs and metrics go')
    parser.add_argument('--out', help='file for the predictions (.pkl) or the metrics (.json, .yaml, .pkl)')
    parser.add_argument('--out-item', choices=['pred', 'metrics'], default='pred', help='what --out holds')
    parser.add_argument('--dump', help='.pkl file for the predictions')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--tta', action='store_true', help="test-time augmentation: the config's, else flipping")
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--interval', type=int, default=1, help='show one in so many samples')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that each window stays')
    parser.add_argument('--no-pin-memory', action='store_true', help='turn pin_memory off in data loaders')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override parts of the config, e.g. test_dataloader.batch_size=8',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by torch.distributed.launch')
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())
    os.environ.setdefault('LOCAL_RANK', str(args.pop('local_rank')))
    with plain_errors():
        launch.test(**args)


if __name__ == '__main__':
    main()
