"""Make the annotation lists of Something-Something v1 from the official label files and frame folders (or videos)."""

import argparse

from mmcgc.datasets.prepare_sthv1 import prepare_sthv1


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('labels', help='folder of something-something-v1-{labels,train,validation,test}.csv')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--frames', help='folder of frame folders, e.g. 20bn-something-something-v1')
    source.add_argument('--videos', help='folder of videos named by their id')
    parser.add_argument('--out', default='data/sthv1', help='where the lists go (default: %(default)s)')
    parser.add_argument('--skip-broken', action='store_true', help='leave missing and broken clips out of the lists')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    kind = 'videos' if args.videos else 'rawframes'
    try:
        counts = prepare_sthv1(args.labels, args.videos or args.frames, args.out, kind, args.skip_broken)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'error: {error}') from error
    print(f'\nThe lists in {args.out}: ' + ', '.join(f'{split} {count} clips' for split, count in counts.items()))


if __name__ == '__main__':
    main()
