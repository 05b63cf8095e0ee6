"""Measure time and peak memory of a gated network, or of its gated layers, against the plain one and its rivals."""

import argparse

import torch

from mmcgc.analysis.speed.benchmark import ARMS, PASSES, benchmark, check_ratios, table
from mmcgc.analysis.tables import append_csv
from mmcgc.command_line import plain_errors
from mmcgc.whole_file import check_outputs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of a config with gates')
    parser.add_argument('--layers', action='store_true', help='measure each gated layer by itself')
    parser.add_argument('--batch', type=int, default=8, help='images, clips or sentences (default: %(default)s)')
    parser.add_argument('--shape', type=int, nargs='+', help='S, H W or T H W; tokens for translation')
    parser.add_argument('--arms', nargs='+', choices=ARMS, default=ARMS, help='(default: all)')
    parser.add_argument('--passes', nargs='+', choices=PASSES, default=PASSES, help='(default: both)')
    parser.add_argument('--repeats', type=int, default=7, help='turns that are timed (default: %(default)s)')
    parser.add_argument('--threads', type=int, help="of the CPU (default: torch's)")
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--bfloat16', action='store_true', help='autocast to bfloat16')
    parser.add_argument('--compile', action='store_true', help='torch.compile all arms')
    parser.add_argument('--cuda-graphs', action='store_true', help='capture every pass and time its replays')
    parser.add_argument(
        '--keep-memory',
        action='store_true',
        help='freed memory stays with the process (glibc), so that none is fetched anew in a turn',
    )
    parser.add_argument('--csv', help='a file to append the rows to')
    parser.add_argument(
        '--fail-above',
        type=float,
        metavar='RATIO',
        help='exit with an error if the gated network, or one of its layers, takes more than so many times as long as '
        'the plain one',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with plain_errors():
        check_outputs([args.csv] if args.csv else [], [args.config])
        rows = benchmark(
            args.config,
            by_layer=args.layers,
            batch=args.batch,
            size=args.shape,
            arms=args.arms,
            passes=args.passes,
            repeats=args.repeats,
            device=args.device,
            channels_last=args.channels_last,
            bfloat16=args.bfloat16,
            compiled=args.compile,
            graphed=args.cuda_graphs,
            kept=args.keep_memory,
        )
        print(table(rows))
        if args.csv:
            append_csv(rows, args.csv)
        if args.fail_above is not None:
            check_ratios(rows, args.fail_above)


if __name__ == '__main__':
    main()
