"""Translate a sentence, a file, or standard input line by line."""

import argparse
import sys
from contextlib import ExitStack

from mmcgc.apis.translate import Translator
from mmcgc.command_line import plain_errors
from mmcgc.plain_text import decode_lines
from mmcgc.progress import tracked
from mmcgc.whole_file import whole_file


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or address of the checkpoint')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--text', help='a sentence')
    source.add_argument('--input', help='a text file with a sentence a line (default: standard input)')
    parser.add_argument('--output', help='file for the translations (default: standard output)')
    parser.add_argument('--beam', type=int, help="width of the beam (default: the config's)")
    parser.add_argument('--length-penalty', type=float, help="exponent of the length (default: the config's)")
    parser.add_argument('--max-length', type=int, default=1024, help='most tokens of a line (default: %(default)s)')
    parser.add_argument('--max-tokens', type=int, default=4000, help='most tokens of a batch (default: %(default)s)')
    parser.add_argument('--buffer', type=int, default=2000, help='lines to read at a time (default: %(default)s)')
    parser.add_argument('--device', help='cpu, cuda, ... (default: an accelerator if there is one)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    search = {
        name: value
        for name, value in dict(beam=args.beam, length_penalty=args.length_penalty).items()
        if value is not None
    }
    sys.stdout.reconfigure(encoding='utf-8', errors='replace', newline='\n')
    count = 0
    with plain_errors(), ExitStack() as files:
        if args.text is not None:
            source = decode_lines([args.text.encode(errors='surrogateescape')], '--text')
        elif args.input is not None:
            text = files.enter_context(open(args.input, 'rb'))
            if text.seekable():
                count = sum(1 for _ in text)
                text.seek(0)
            source = decode_lines(text, args.input)
        else:
            source = decode_lines(sys.stdin.buffer, 'standard input')
        out = sys.stdout
        if args.output:
            inputs = [path for path in (args.config, args.checkpoint, args.input) if path]
            part = files.enter_context(whole_file(args.output, inputs))
            out = files.enter_context(open(part, 'w', encoding='utf-8', newline='\n'))
        translator = Translator(
            args.config, args.checkpoint, args.device, args.max_length, args.max_tokens, args.buffer, search
        )
        translated = translator.translate(source)
        for line in tracked(translated, count) if args.output else translated:
            print(line, file=out, flush=True)
    print(translator.report(), file=sys.stderr)


if __name__ == '__main__':
    main()
