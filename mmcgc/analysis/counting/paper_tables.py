"""Set the paper's tables beside what the configs of this repository build, cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import mmengine
import torch
from mmengine.config import Config

import mmcgc

from ...progress import tracked
from ..network import build_network, input_shape
from ..tables import markdown_table
from .paper import TABLES, Row
from .paper_rule import paper_flops

NO_CONFIG, CITED = 'no config yet', 'cited by the paper, not built here'
METRICS = {'Top-1 (%)': 'Top 1 Accuracy', 'Top-5 (%)': 'Top 5 Accuracy', 'BLEU-4': 'BLEU'}


def config_root(given: str | None = None) -> Path:
    """Find the folder of the configs: the given one, else that of the installed package, else the repository's.

    Raises:
        FileNotFoundError: If there is none, or it holds no configs.
    """
    package = Path(mmcgc.__file__).parent
    roots = [Path(given)] if given else [package / '.mim' / 'configs', package.parent / 'configs']
    for root in roots:
        if any(root.rglob('*.py')):
            return root
    raise FileNotFoundError(f'no configs in {" or ".join(map(str, roots))}; name their folder with --configs')


def compare(number: int, root: Path) -> tuple[str, bool]:
    """Set a table of the paper beside our figures.

    Args:
        number: Number of the table, 1 to 4.
        root: The folder of the configs.

    Returns:
        The table as text, and whether every cell that the tables decide and that has a config agrees.
    """
    table = TABLES[number]
    costs = any(row.mflops for row in table.rows)
    header = ['System', 'Param, paper', 'ours', 'exact', *(['+MFLOPs, paper', 'ours'] if costs else [])]
    header += [name for score in table.scores for name in (f'{score}, paper', 'ours')]
    measure, scores = cache(partial(_measure, with_flops=costs, model=table.model)), _own_scores(root)
    lines, agrees = [], True
    for row in tracked(table.rows):
        cells, remarks, same = _compare(row, root, measure)
        own = scores.get(row.config, {})
        for name, printed in zip(table.scores, row.scores, strict=True):
            cells += [printed or '-', str(own.get(METRICS[name], ''))]
        lines.append([row.name, *cells[:3], *cells[3 if costs else 5 :], '; '.join(remarks)])
        agrees &= same
    return f'Table {number}. {table.title}\n\n{markdown_table([*header, "Remarks"], lines)}', agrees


def _compare(row: Row, root: Path, measure: Callable[[Path], tuple[int, int]]) -> tuple[list, list, bool]:
    """Return five cells (parameters printed, ours, exact; increment printed, ours), remarks, and whether ours agree."""
    path, base = _only(root, row.config), _only(root, row.base)
    if path is None or (row.base and base is None):
        return [row.params or '-', '', '', row.mflops or '-', ''], [NO_CONFIG if row.config else CITED], True
    params, flops = measure(path)
    ours, increment = _like(row.params, params / 1e6) + 'M', ''
    if base is not None:
        cut = 1000 if '.' in row.mflops else 1  # Table 2 takes the difference of totals cut after three decimals
        increment = f'{(flops // cut - measure(base)[1] // cut) * cut / 1e6:.3f}'
    remarks, differs = [f'open: {row.remark}'] if row.remark else [], []
    if row.undecided:
        remarks.append(f'not decided: {row.undecided}')
    elif ours != row.params:
        differs.append('Param')
    if row.unmatched:
        remarks.append(f'+MFLOPs not reproduced: {row.unmatched}')
    elif row.mflops and _like(row.mflops, float(increment)) != row.mflops:
        differs.append('+MFLOPs')
    if differs:
        remarks.insert(0, f'DIFFERS: {", ".join(differs)}')
    return [row.params, ours, f'{params:,}', row.mflops or '-', increment], remarks, not differs


def _measure(path: Path, with_flops: bool, model: dict) -> tuple[int, int]:
    """Count parameters and, by the paper's rule, operations; ``model`` overrides parts of the config's model."""
    cfg = Config.fromfile(path)
    cfg.model.update(model)
    network = build_network(cfg)
    flops = paper_flops(network, torch.zeros(input_shape(cfg))) if with_flops else 0
    return sum(p.numel() for p in network.parameters()), flops


def _only(root: Path, pattern: str) -> Path | None:
    """Return the one file of that pattern, or None if there is none."""
    found = sorted(root.glob(pattern)) if pattern else []
    if len(found) > 1:
        raise ValueError(f'{pattern} should name one config, but there are {", ".join(path.name for path in found)}')
    return found[0] if found else None


def _like(printed: str, value: float) -> str:
    """Write the value with as many decimals as the printed figure."""
    return f'{value:.{len(printed.rstrip("M").partition(".")[2])}f}'


def _own_scores(root: Path) -> dict[str, dict[str, float]]:
    """Read the metrics of this repository's runs, by config relative to ``root``, from the ``metafile.yml`` files."""
    scores = {}
    for index in root.rglob('metafile.yml'):
        for model in (mmengine.load(index) or {}).get('Models') or []:
            config = Path(model['Config']).relative_to('configs').as_posix()
            for result in model.get('Results') or []:
                scores.setdefault(config, {}).update(result.get('Metrics') or {})
    return scores
