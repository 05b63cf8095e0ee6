"""Gate networks of other libraries, and check that they keep their function, learn, keep their state and export.

Print a table with one row for each network, then what failed and what stays plain; the exit status is 1 if a check
fails.  No weights are downloaded.
"""

import argparse
import sys

from mmengine.logging import MMLogger

from mmcgc.analysis.check_networks import check_networks, table
from mmcgc.analysis.neighbours import SOURCES
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help='networks, or recipes without .py; by default those of a fixed list'
    )
    parser.add_argument('--source', choices=SOURCES, help='the library of the networks (default: all)')
    return parser.parse_args()


def main() -> None:
    args, results = parse_args(), []
    MMLogger.get_current_instance().setLevel('WARNING')  # because the table says how many convolutions are gated
    with plain_errors():
        for result in check_networks(args.names, args.source):
            results.append(result)
            print(f'{result.name}: {"failed" if result.failed else "passed"}', file=sys.stderr)
    print(table(results))
    sys.exit(any(result.failed for result in results))


if __name__ == '__main__':
    main()
