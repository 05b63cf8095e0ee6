"""Measure how many sentences and tokens a second models translate, and their peak memory, in one run."""

import argparse

from mmcgc.analysis.speed.benchmark_translation import benchmark, table
from mmcgc.analysis.tables import append_csv
from mmcgc.command_line import plain_errors
from mmcgc.whole_file import check_outputs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='paths of the config files; the others are compared to the first')
    parser.add_argument('--checkpoints', nargs='+', help='one for each config (default: random weights)')
    parser.add_argument('--sentences', type=int, default=1000, help='of the test set (default: %(default)s)')
    parser.add_argument('--max-tokens', type=int, default=4000, help='most tokens of a batch (default: %(default)s)')
    parser.add_argument('--repeats', type=int, default=3, help='passes over the sentences (default: %(default)s)')
    parser.add_argument('--beam', type=int, help="width of the beam (default: the config's)")
    parser.add_argument('--length', type=int, help='most tokens of a translation (default: as the config says)')
    parser.add_argument('--bfloat16', action='store_true', help='autocast to bfloat16')
    parser.add_argument('--device', help='cpu, cuda, ... (default: an accelerator if there is one)')
    parser.add_argument('--csv', help='a file to append the table to')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    search = {} if args.beam is None else dict(beam=args.beam)
    if args.length is not None:
        search['max_length'] = (0, args.length)
    with plain_errors():
        check_outputs([args.csv] if args.csv else [], [*args.configs, *(args.checkpoints or [])])
        rows = benchmark(
            args.configs,
            args.checkpoints,
            args.sentences,
            args.max_tokens,
            args.repeats,
            args.device,
            args.bfloat16,
            search,
        )
        print(table(rows))
        if args.csv:
            append_csv(rows, args.csv)


if __name__ == '__main__':
    main()
