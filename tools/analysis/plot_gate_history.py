"""Draw what the gates of each layer did while a network trained, from what GateStatisticsHook logged."""

import argparse

from mmcgc.analysis.pictures.plot_gate_history import draw_gate_history
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', help='work directory of the run')
    parser.add_argument('--out', default='gate_history.png', help='the picture to write (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    with plain_errors():
        print(draw_gate_history(**vars(parse_args())))


if __name__ == '__main__':
    main()
