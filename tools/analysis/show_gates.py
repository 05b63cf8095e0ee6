"""Draw the gates of chosen layers for chosen pictures or clips, and what changes from the first to the others."""

import argparse

from mmengine.config import DictAction

from mmcgc.analysis.pictures.show_gates import show_gates
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    parser.add_argument('paths', nargs='*', metavar='PICTURE', help='files or folders of pictures, or of videos')
    parser.add_argument(
        '--samples',
        type=int,
        metavar='N',
        help='in place of PICTURE: N of the validation set, from one class after the other',
    )
    parser.add_argument(
        '--layers',
        nargs='+',
        default=[],
        metavar='NAME',
        help='names of gated layers (default: the last one; a wrong name lists them all)',
    )
    parser.add_argument(
        '--channels',
        type=int,
        default=8,
        help='output and input channels to show, evenly spaced (default: %(default)s)',
    )
    parser.add_argument('--out', default='gates_of_inputs.png', help='the picture to write (default: %(default)s)')
    parser.add_argument('--device', help='e.g. cpu or cuda:0; by default an accelerator if there is one')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override parts of the config'
    )
    return parser.parse_args()


def main() -> None:
    with plain_errors():
        print(show_gates(**vars(parse_args())))


if __name__ == '__main__':
    main()
