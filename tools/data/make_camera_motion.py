"""Make clips of camera motion (panning, zooming, turning) out of a folder of photographs."""

import argparse

from mmcgc.command_line import plain_errors
from mmcgc.datasets.camera_motion import make_camera_motion


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='folder of photographs, with or without train and val in it')
    parser.add_argument('--out', default='data/camera_motion', help='where the clips go (default: %(default)s)')
    parser.add_argument('--train-clips', type=int, default=4000, help='(default: %(default)s)')
    parser.add_argument('--val-clips', type=int, default=1000, help='(default: %(default)s)')
    parser.add_argument('--frames', type=int, default=16, help='frames of a clip (default: %(default)s)')
    parser.add_argument('--size', type=int, default=128, help='side of a clip in pixels (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        skipped = make_camera_motion(**vars(args))
    print(
        f'\nThe clips are in {args.out}; {len(skipped)} photographs were skipped'
        + ''.join(f'\n  {path}: {reason}' for path, reason in skipped.items())
    )


if __name__ == '__main__':
    main()
