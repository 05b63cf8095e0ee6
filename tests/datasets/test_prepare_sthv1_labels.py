"""Label files of Something-Something v1 that contradict themselves or each other are refused with the reason."""

import pytest
from sthv1 import prepare

from mmcgc.datasets import prepare_sthv1 as module


def edit(name, old, new):
    def apply(tree):
        path = tree / f'labels/something-something-v1-{name}.csv'
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return apply


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        pytest.param(
            edit('train', '7;Holding something', '7;Holding nothing'),
            "line 2: the label 'Holding nothing' of 7",
            id='unknown-label',
        ),
        pytest.param(
            edit('train', '8;', '7;'), 'line 4: the id 7 stands already in .*train.csv, line 2', id='id-twice'
        ),
        pytest.param(
            edit('validation', '12;', '100;'), 'line 1: the id 100 stands already in .*train', id='two-splits'
        ),
        pytest.param(edit('train', '7;', '../7;'), 'line 2: expected "id;label"', id='path-for-an-id'),
        pytest.param(edit('labels', 'Dropping', 'Holding'), 'names a class twice', id='class-twice'),
    ],
)
def test_contradictions_in_the_label_files_are_named(tree, change, message):
    change(tree)
    with pytest.raises(ValueError, match=message):
        prepare(tree)


def test_label_files_in_another_order_are_refused(tmp_path):
    classes = [f'class {i}' for i in range(174)]
    for i, (left, right) in enumerate(module.LEFT_RIGHT):
        classes[left], classes[right] = f'Going {i} left', f'Going {i} right'
    path = tmp_path / 'labels.csv'
    path.write_text('\n'.join(classes))
    assert module.read_classes(path) == classes
    path.write_text('\n'.join(sorted(classes)))
    with pytest.raises(ValueError, match='not in the official order'):
        module.read_classes(path)
