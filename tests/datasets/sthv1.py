"""Something-Something v1 as its tests prepare it, from the folders of the fixture ``tree``."""

from mmcgc.datasets import prepare_sthv1 as module


def prepare(tree, **options):
    return module.prepare_sthv1(tree / 'labels', tree / options.pop('source', 'frames'), tree / 'out', **options)
