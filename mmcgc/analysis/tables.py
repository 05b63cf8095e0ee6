"""Write tables as text: Markdown to read, CSV to go on with."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..whole_file import whole_file


def markdown_table(header: list[str], lines: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """Return a Markdown table with columns of even width; those whose numbers are in ``right`` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ['-' * (width - (i in right)) + ':' * (i in right) for i, width in enumerate(widths)]
    aligned = [[cell.rjust(width) if i in right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))]
               for cells in (header, rule, *lines)]  # fmt: skip
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in aligned)


def append_csv(rows: list[dict], path: str | Path) -> None:
    """Add the rows to a CSV file, with a header if it is new; after an error it is as it was.

    Raises:
        ValueError: If the file has other columns.
    """
    path, columns = Path(path), list(rows[0])
    before = path.read_bytes().decode() if path.is_file() else ''
    found = next(csv.reader(io.StringIO(before, newline='')), columns)
    if found != columns:
        raise ValueError(f'{path} has columns {found} instead of {columns}; give another file')
    with whole_file(path) as part, part.open('w', newline='', encoding='utf-8') as file:
        file.write(before)
        writer = csv.DictWriter(file, columns)
        if not before:
            writer.writeheader()
        writer.writerows(rows)
