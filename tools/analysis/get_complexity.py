"""Print parameters and multiply-adds of the network of any image or video config, the gates' share apart.

It counts the multiply-adds of convolutions, linear layers and matrix products, one for every element that adaptive
pooling reads, and one for every element of a gated kernel (weight * gate); it leaves out norms, activations and sums.
"""

import argparse

from mmcgc.analysis.counting.get_complexity import describe
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='N',
        help="size of one sample: S, or H W, or T H W for video; by default the training pipeline's",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        print(describe(args.config, args.shape))


if __name__ == '__main__':
    main()
