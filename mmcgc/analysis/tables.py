"""Tables as text: Markdown to read, CSV to go on with."""

from __future__ import annotations

import csv
from pathlib import Path


def markdown_table(header: list[str], lines: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """A Markdown table with columns of even width; those whose numbers are in ``right`` are set to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ['-' * (width - (i in right)) + ':' * (i in right) for i, width in enumerate(widths)]
    aligned = [[cell.rjust(width) if i in right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))]
               for cells in (header, rule, *lines)]  # fmt: skip
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in aligned)


def append_csv(rows: list[dict], path: str | Path) -> None:
    """Add the rows to a CSV file, with a header where it is new.

    Raises:
        ValueError: the file has other columns.
    """
    new = not Path(path).exists()
    if not new:
        with open(path, newline='', encoding='utf-8') as file:
            columns = next(csv.reader(file), [])
        if columns != list(rows[0]):
            raise ValueError(f'{path} has columns {columns} instead of {list(rows[0])}; give another file')
    with open(path, 'a', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)
