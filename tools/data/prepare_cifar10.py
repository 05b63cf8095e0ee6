"""Make the CIFAR-10 folder that the configs read, from the official archive or from a lossless WebP pack."""

import argparse

from mmcgc.command_line import plain_errors
from mmcgc.datasets.prepare_cifar10 import prepare_cifar10


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        nargs='+',
        help='the official cifar-10-python.tar.gz, or the folder or tars of the pack, e.g. path/to/pack',
    )
    parser.add_argument('--out', default='data/cifar10', help='the data root to write (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        folder = prepare_cifar10(args.source, args.out)
    print(f'\nCIFAR-10 is ready in {folder}')


if __name__ == '__main__':
    main()
