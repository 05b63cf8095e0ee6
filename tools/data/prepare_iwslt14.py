"""Make a corpus for the translation configs from IWSLT'14's raw archive, from tokenised text, or from plain pairs."""

import argparse

from mmcgc.command_line import plain_errors
from mmcgc.datasets.translation.prepare import prepare_corpus


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="""examples:
  the raw archive:  %(prog)s de-en.tgz
  tokenised text:   %(prog)s iwslt14.tokenized.de-en.tar.xz --tokenised --train train_representative
  plain pairs:      %(prog)s path/to/multi30k --valid val --test test_2016_flickr --max-ratio 9 \\
                      --merges 4000 --out data/multi30k""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', help='folder or tar archive with the text; files may be gzipped')
    parser.add_argument('--out', default='data/iwslt14', help='the folder to write (default: %(default)s)')
    parser.add_argument('--source-language', default='de', help='(default: %(default)s)')
    parser.add_argument('--target-language', default='en', help='(default: %(default)s)')
    for split in ('train', 'valid', 'test'):
        parser.add_argument(f'--{split}', default=split, help=f'files <{split}>.<language> (default: %(default)s)')
    parser.add_argument('--tokenised', action='store_true', help='the text is tokenised and clean already')
    parser.add_argument('--merges', type=int, default=10_000, help='byte-pair merges to learn (default: %(default)s)')
    parser.add_argument('--codes', help='a file of byte-pair merges to use instead')
    parser.add_argument('--max-words', type=int, default=175, help='most tokens of a training sentence')
    parser.add_argument('--max-ratio', type=float, default=1.5, help='greatest ratio of lengths of a training pair')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with plain_errors():
        folder = prepare_corpus(
            args.source,
            args.out,
            languages=(args.source_language, args.target_language),
            splits=(args.train, args.valid, args.test),
            tokenised=args.tokenised,
            merges=args.merges,
            codes=args.codes,
            max_words=args.max_words,
            max_ratio=args.max_ratio,
        )
    print(f'\nthe corpus is ready in {folder}')


if __name__ == '__main__':
    main()
