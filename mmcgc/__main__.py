"""Print what is installed here, as ``python -m mmcgc`` or as ``mmcgc``."""

import argparse

from . import about

COMMANDS = {function.__name__: function for function in (about.info, about.tools, about.configs, about.weights)}


def main(arguments: list[str] | None = None) -> None:
    """Print what the command asks for, or everything if there is no command."""
    parser = argparse.ArgumentParser(prog='mmcgc', description=__doc__)
    parser.add_argument('what', nargs='?', choices=COMMANDS, help='only this part; by default all of them')
    wanted = parser.parse_args(arguments).what
    print('\n\n'.join(COMMANDS[name]() for name in ([wanted] if wanted else COMMANDS)))


if __name__ == '__main__':
    main()
