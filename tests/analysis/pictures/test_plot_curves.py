"""The curves of a comparison: where their names stand."""

from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmcgc.analysis.pictures import plot_curves


def test_long_names_cover_no_panel():
    names = [f'cgc-resnet{depth}-half-of-the-channels_1xb128-1x1x4-164e_some-data-set-64px-rgb' for depth in (20, 110)]
    points = [(step, 2, 1.0, 0.1) for step in (1, 2)]
    curves = {name: {'training loss': points, 'accuracy/top1': points} for name in names}
    figure = plot_curves._draw(curves, {name: [None, None] for name in names}, 'accuracy/top1', 'epoch')
    FigureCanvasAgg(figure).draw()
    (legend,) = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    covered = legend.get_window_extent()
    assert not any(covered.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert figure.bbox.x0 <= covered.x0 and covered.x1 <= figure.bbox.x1
