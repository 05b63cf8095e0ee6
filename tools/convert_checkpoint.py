"""Convert a ResNet's checkpoint between libraries, and from a plain to a gated network."""

import argparse

from mmengine.config import DictAction

from mmcgc.checkpoints.convert import convert_checkpoint
from mmcgc.checkpoints.layouts import LAYOUTS
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='checkpoint of any of these layouts: .pth, .safetensors or an address')
    parser.add_argument('target', help='file to write: .pth, .pt or .safetensors')
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument('--to', choices=LAYOUTS, help='write the keys of this layout')
    keys.add_argument(
        '--config',
        help="write the keys of this config's model (TSM's shifted ones too), and check the "
        'shapes: a path, or e.g. mmaction::recognition/tsm/NAME.py',
    )
    parser.add_argument(
        '--preserve-function',
        action='store_true',
        help="plain to gated, with a --config whose gates have init='preserve': write the gates too, "
        'as they start, so that the outputs stay the same',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='changes to the config, such as model.backbone.conv_cfg.gate.init=preserve',
    )
    parser.add_argument('--no-head', dest='head', action='store_false', help='leave the classifier out')
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())
    with plain_errors():
        result = convert_checkpoint(**args)
    print(
        f'{args["source"]} ({result.source}) -> {args["target"]}: {len(result.state)} tensors, '
        f'{len(result.initialised)} of them of new gates'
    )
    report('of the source went nowhere', result.unused)
    if result.unfilled is None:
        print('Which keys of a model stay unfilled is known with --config only')
    else:
        report('of the model got no value', result.unfilled)


def report(what: str, keys: list[str]) -> None:
    print(f'{len(keys)} keys {what}{":" if keys else ""}')
    for key in keys:
        print(f'  {key}')


if __name__ == '__main__':
    main()
