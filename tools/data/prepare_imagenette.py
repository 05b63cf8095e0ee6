"""Make the Imagenette folder that the configs read, from the public archive or from folders of the same form."""

import argparse

from mmcgc.command_line import plain_errors
from mmcgc.datasets.prepare_imagenette import prepare_imagenette


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        nargs='+',
        help='imagenette2-160.tgz, the folder unpacked from it, or an archive or folder of each split',
    )
    parser.add_argument('--out', default='data/imagenette', help='the data root to write (default: %(default)s)')
    parser.add_argument('--partial', action='store_true', help='do not insist on all 9,469 and 3,925 images')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        counts = prepare_imagenette(args.source, args.out, args.partial)
    print(f'Imagenette is ready in {args.out}: {counts["train"]:,} images to train, {counts["val"]:,} to validate')


if __name__ == '__main__':
    main()
