"""Draw where networks look before and after their last gated convolution, many pictures on one sheet (Figure 4)."""

import argparse

from mmengine.config import DictAction

from mmcgc.analysis.pictures.show_grad_cam import show_grad_cam
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('paths', nargs='*', metavar='PICTURE', help='files or folders of pictures, or of videos')
    parser.add_argument(
        '--model',
        dest='models',
        nargs=2,
        action='append',
        required=True,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a network; give it again for others beside it',
    )
    parser.add_argument(
        '--samples',
        type=int,
        metavar='N',
        help='in place of PICTURE: N of the validation set, from one class after the other',
    )
    parser.add_argument('--layer', help='name of the convolution (default: the last gated one, or the last of all)')
    parser.add_argument(
        '--target',
        metavar='CLASS',
        help='name or number of the class whose evidence is shown (default: the one that each network predicts)',
    )
    parser.add_argument('--out', default='grad_cam.jpg', help='the sheet to write (default: %(default)s)')
    parser.add_argument('--device', help='e.g. cpu or cuda:0; by default an accelerator if there is one')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override parts of the configs'
    )
    return parser.parse_args()


def main() -> None:
    with plain_errors():
        print(show_grad_cam(**vars(parse_args())))


if __name__ == '__main__':
    main()
