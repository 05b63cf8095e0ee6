"""Draw whether the modulated kernels of gated layers gather by class, over the epochs of a training (Figure 5)."""

import argparse

from mmengine.config import DictAction

from mmcgc.analysis.pictures.plot_kernels_history import draw_kernels_history
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument(
        'runs', nargs='+', metavar='WORK_DIR', help='work directories of runs that keep every epoch, one a seed'
    )
    parser.add_argument(
        '--layers',
        nargs='+',
        default=[],
        metavar='NAME',
        help='gated layers (default: the last one; a wrong name lists them all)',
    )
    parser.add_argument('--every', type=int, default=1, help='measure one in so many epochs (default: %(default)s)')
    parser.add_argument(
        '--out',
        default='kernels-history.png',
        help='the picture to write, a .csv beside it, from '
        'which an interrupted measurement goes on (default: %(default)s)',
    )
    parser.add_argument('--device', help='e.g. cpu or cuda:0; by default an accelerator if there is one')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override parts of the config, e.g. val_dataloader.dataset.indices=2000',
    )
    return parser.parse_args()


def main() -> None:
    with plain_errors():
        print(draw_kernels_history(**vars(parse_args())))


if __name__ == '__main__':
    main()
