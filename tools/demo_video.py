"""Print the most probable classes of a video file, and with --out write the video with them on it."""

import argparse

from mmengine.config import DictAction

from mmcgc.apis.demo_video import classify_video
from mmcgc.command_line import plain_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    parser.add_argument('video', help='path of the video file')
    parser.add_argument('--top', type=int, default=5, help='how many classes (default: %(default)s)')
    parser.add_argument('--labels', help='file with a class name a line; by default what comes with the checkpoint')
    parser.add_argument('--out', help='write the video with the classes on it to this .mp4')
    parser.add_argument('--device', help='e.g. cpu or cuda:0; by default an accelerator if there is one')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override parts of the config, e.g. model.backbone.depth=18',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        classes = classify_video(**vars(args))
    for name, probability in classes:
        print(f'{probability:7.2%}  {name}')
    if args.out:
        print(f'The annotated video is {args.out}')


if __name__ == '__main__':
    main()
