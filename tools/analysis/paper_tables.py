"""Print tables of the paper beside our figures; exit with 1 if a cell that they decide differs.

Our +MFLOPs follow the counter that the paper used (mmcgc/analysis/counting/paper_rule.py); get_complexity.py counts
the true cost.  Our scores come from the metafile.yml files beside the configs, and stay blank until a run has put them
there.
"""

import argparse
import sys

from mmcgc.analysis.counting.paper_tables import compare, config_root
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--table', type=int, nargs='+', choices=[1, 2, 3, 4], default=[1, 2, 3, 4], help='which tables, by default all'
    )
    parser.add_argument('--configs', help='folder of the configs, by default that of this package')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    with plain_errors():
        root, agrees = config_root(args.configs), True
        for number in args.table:
            text, same = compare(number, root)
            print(f'{text}\n')
            agrees &= same
    return 0 if agrees else 1


if __name__ == '__main__':
    sys.exit(main())
