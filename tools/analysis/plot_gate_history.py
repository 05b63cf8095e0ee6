"""Draw what the gates of each layer did while a network trained, from what GateStatisticsHook logged."""

import argparse

from mmcgc.analysis.gate_history import draw_gate_history


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', help='work directory of the run')
    parser.add_argument('--out', default='gate_history.png', help='the picture to write (default: %(default)s)')
    return parser.parse_args()


def main() -> None:
    try:
        print(draw_gate_history(**vars(parse_args())))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
