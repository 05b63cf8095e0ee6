"""Train configs over seeds, some at a time, and compare them by a table, paired differences, curves and a CSV.

The command may be killed or stopped at any moment; the same command goes on, and at the end it draws the table again.
"""

import argparse
import shlex
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmcgc.analysis.compare import compare
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='paths of config files')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='(default: 0 1 2)')
    parser.add_argument(
        '--work-dir',
        default='work_dirs/compare',
        help='of the comparison; its runs are in CONFIG/seed-K there (default: %(default)s)',
    )
    parser.add_argument('--jobs', type=int, default=1, help='trainings at a time, one thread each (default: 1)')
    parser.add_argument('--minutes', type=float, help='stop after so many; the same command goes on')
    parser.add_argument('--metric', help='of the validation, e.g. accuracy/top1 (default: the first that was logged)')
    parser.add_argument(
        '--runs-from', nargs='+', default=[], metavar='RUNS.CSV', help='of comparisons made elsewhere; not run again'
    )
    parser.add_argument('--draw-only', action='store_true', help='train nothing, draw the runs that are finished')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override parts of all configs'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    command = shlex.join(['python', 'tools/compare.py', *sys.argv[1:]])
    with plain_errors():
        print(compare(**vars(args), train_tool=str(Path(__file__).with_name('train.py')), command=command))


if __name__ == '__main__':
    main()
