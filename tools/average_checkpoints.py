"""Average the weights of the last checkpoints of a run."""

import argparse
from pathlib import Path

from mmcgc.checkpoints.average import average_checkpoints, last_checkpoints
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', nargs='+', help='a work directory, or the checkpoints themselves')
    parser.add_argument('--last', type=int, default=10, help='how many of the work directory (default: %(default)s)')
    parser.add_argument('--out', help='the file to write (default: average.pth beside the checkpoints)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        paths = [Path(source) for source in args.source]
        if len(paths) == 1 and paths[0].is_dir():
            paths = last_checkpoints(paths[0], args.last)
        out = args.out or paths[-1].parent / 'average.pth'
        average_checkpoints(paths, out)
    print(f'{out} is the average of {", ".join(path.name for path in paths)}')


if __name__ == '__main__':
    main()
