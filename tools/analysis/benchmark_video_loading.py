"""Measure how many clips a second the data path gives, from video files and from folders of frames."""

import argparse

from mmcgc.analysis.speed.benchmark_video_loading import benchmark, table
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('videos', help='folder of video files')
    parser.add_argument('--frames', type=int, default=8, help='frames of a clip (default: %(default)s)')
    parser.add_argument('--clips', type=int, default=48, help='clips of a pass (default: %(default)s)')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 2], help='decoding processes (default: 0 2)')
    parser.add_argument('--repeats', type=int, default=5, help='passes that are timed (default: %(default)s)')
    parser.add_argument('--crop', type=int, default=224, help='pixels of the crop (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())
    with plain_errors():
        print(table(benchmark(**args)))


if __name__ == '__main__':
    main()
