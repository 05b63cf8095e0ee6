"""Draw what the gates did while a network trained, from the scalars that GateStatisticsHook logged."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..run_logs import LOGS, read_run
from .figures import SEQUENTIAL, check_picture, save

TITLES = {
    'mean': 'mean gate',
    'spread': 'spread of the gates\n(standard deviation)',
    'saturated': 'share within 5%\nof shut or open',
    'over_samples': 'change over samples\n(standard deviation)',
    'over_frames': 'change over the frames\nof a clip (s.d.)',
}


def draw_gate_history(run: str, out: str) -> str:
    """Draw the gate statistics of a run over its iterations, a line for each layer, dark for the first.

    Args:
        run: Work directory of the run.
        out: The picture to write.

    Returns:
        One line that says what the picture shows.

    Raises:
        FileNotFoundError: If the directory has no log.
        ValueError: If the log has no gate statistics.
    """
    out = check_picture(out, Path(run).glob(LOGS))
    figures = defaultdict(dict)
    for name, values in read_run(run).training.items():
        if name.startswith('gate/'):
            layer, _, figure = name.removeprefix('gate/').rpartition('/')
            figures[figure][layer] = values
    if not figures:
        raise ValueError(
            f"{run} has logged no gates: train a gated network with dict(type='mmcgc.GateStatisticsHook') "
            'among its custom_hooks'
        )
    layers = list(figures['mean'])
    figure = Figure(figsize=(2.9 * len(figures) + 1.3, 3.2), layout='constrained')
    panels = figure.subplots(1, len(figures))
    colours = colormaps[SEQUENTIAL].resampled(max(2, len(layers)))
    for axes, name in zip(panels, [name for name in TITLES if name in figures], strict=True):
        for i, layer in enumerate(layers):
            axes.plot(*zip(*sorted(figures[name][layer].items()), strict=True), color=colours(i), marker='.', lw=1)
        axes.set(title=TITLES[name], xlabel='iteration')
        axes.title.set_fontsize(10)
        axes.set_ylim(bottom=0)
        if name == 'mean':
            axes.set_ylim(top=max(1, axes.get_ylim()[1]))
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    bar = figure.colorbar(ScalarMappable(Normalize(0, len(layers) - 1), colours), ax=panels, label='gated layer')
    bar.set_ticks([0, len(layers) - 1], labels=[layers[0], layers[-1]], fontsize=8)
    save(figure, out)
    ends = ', '.join(f'{name} {_last(values):.3f}' for name, values in figures.items())
    return f'Gate statistics of {len(layers)} layers over the training, at its end on average {ends}: {out}'


def _last(layers: dict[str, dict[int, float]]) -> float:
    return sum(values[max(values)] for values in layers.values()) / len(layers)
