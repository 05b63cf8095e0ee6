"""Draw whether the modulated kernels of a gated layer gather by class, over the whole validation set (Figure 5)."""

import argparse

from mmengine.config import DictAction

from mmcgc.analysis.pictures.analyze_gates import analyze_gates
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    parser.add_argument('--layer', help='name of a gated layer (default: the last one; a wrong name lists them all)')
    parser.add_argument('--control', action='store_true', help='the same with random initial weights, beside it')
    parser.add_argument('--seed', type=int, default=0, help='of the random weights (default: %(default)s)')
    parser.add_argument('--out', default='gates.png', help='the picture to write (default: %(default)s)')
    parser.add_argument('--device', help='e.g. cpu or cuda:0; by default an accelerator if there is one')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override parts of the config, e.g. val_dataloader.batch_size=16',
    )
    return parser.parse_args()


def main() -> None:
    with plain_errors():
        print(analyze_gates(**vars(parse_args())))


if __name__ == '__main__':
    main()
