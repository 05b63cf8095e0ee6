"""Draw training curves of networks, plain against gated, from the logs of one or more runs of each (Figure 3)."""

import argparse

from mmcgc.analysis.pictures.plot_curves import compare_curves
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--network',
        dest='networks',
        nargs='+',
        action='append',
        required=True,
        metavar=('NAME', 'WORK_DIR'),
        help='a name and the work directories of its runs, one a seed; give it again for each network',
    )
    parser.add_argument('--metric', help='of the validation, e.g. accuracy/top1 (default: the first that was logged)')
    parser.add_argument(
        '--out', default='curves.png', help='the picture to write, a .csv beside it (default: %(default)s)'
    )
    return parser.parse_args()


def main() -> None:
    with plain_errors():
        print(compare_curves(**vars(parse_args())))


if __name__ == '__main__':
    main()
