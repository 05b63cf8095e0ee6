"""Make the annotation lists of Something-Something v1 from the official label files and the frame folders or videos."""

import argparse
import shlex

from mmcgc.command_line import plain_errors
from mmcgc.datasets.prepare_sthv1 import options_file, prepare_sthv1


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
    with plain_errors():
        counts = prepare_sthv1(args.labels, args.videos or args.frames, args.out, kind, args.skip_broken)
    print(f'\nThe lists in {args.out}: ' + ', '.join(f'{split} {count} clips' for split, count in counts.items()))
    options = options_file(args.out, kind)
    if options.is_file():
        print(
            'The frames are not named as the configs expect; give tools/train.py and tools/test.py the options\n'
            '--cfg-options ' + shlex.join(options.read_text(encoding='utf-8').splitlines())
        )


if __name__ == '__main__':
    main()
