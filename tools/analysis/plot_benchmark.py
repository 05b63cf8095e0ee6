"""Draw what benchmark.py measured: networks or layers side by side, or how the cost grows with batch or size."""

import argparse

from mmcgc.analysis.speed.plot_benchmark import GROWTH, draw_growth, draw_points
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('csv', help='what benchmark.py --csv wrote')
    parser.add_argument('--layers', action='store_true', help='draw the layers, rather than the networks')
    parser.add_argument('--against', choices=GROWTH, help='draw the ratio of networks against this')
    parser.add_argument('--out', default='benchmark.png', help='the picture to write (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        if args.against:
            print(draw_growth(args.csv, args.out, args.against))
        else:
            print(draw_points(args.csv, args.out, args.layers))


if __name__ == '__main__':
    main()
