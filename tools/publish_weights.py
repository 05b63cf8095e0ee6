"""Write the weights of a checkpoint as a small safe file, with its SHA256 beside it."""

import argparse

from mmcgc.checkpoints.publish import publish_weights
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    parser.add_argument('name', help='of the file to write, ending in .safetensors')
    parser.add_argument('--folder', help='where it goes (default: the folder that ships with mmcgc)')
    parser.add_argument('--half', action='store_true', help='store float16')
    return parser.parse_args()


def main() -> None:
    with plain_errors():
        print(publish_weights(**vars(parse_args())))


if __name__ == '__main__':
    main()
