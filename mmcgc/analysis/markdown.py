"""Tables of text."""

from __future__ import annotations


def markdown_table(header: list[str], lines: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """A Markdown table with columns of even width; those whose numbers are in ``right`` are set to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ['-' * (width - (i in right)) + ':' * (i in right) for i, width in enumerate(widths)]
    aligned = [[cell.rjust(width) if i in right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))]
               for cells in (header, rule, *lines)]  # fmt: skip
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in aligned)
