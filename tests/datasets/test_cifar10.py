"""CIFAR-10 folders: every form of a pickle is read, none is obeyed."""

import pickle

import numpy as np
import pytest

from mmcgc.datasets import CIFAR10
from mmcgc.datasets.cifar_batches import dump_batch, load_batch

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
LABELS = [3, 0, 9, 1]
ROWS = IMAGES.transpose(0, 3, 1, 2).reshape(4, 3072)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    for i, name in enumerate([name for name, _ in CIFAR10.train_list + CIFAR10.test_list]):
        labels = [(label + i) % 10 for label in LABELS]
        (folder / name).write_bytes(dump_batch(IMAGES, labels, batch_label=name.encode()))
    return tmp_path


class Malicious:
    """Unpickling this would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize(
    'content',
    [
        pytest.param(dump_batch(IMAGES, LABELS), id='python2'),
        pytest.param(pickle.dumps(dict(data=ROWS, labels=LABELS), protocol=2), id='text-keys-protocol2'),
        pytest.param(pickle.dumps(dict(data=ROWS, labels=LABELS), protocol=4), id='text-keys-protocol4'),
        pytest.param(pickle.dumps({b'data': ROWS, b'labels': LABELS}, protocol=2), id='bytes-keys'),
        pytest.param(pickle.dumps(dict(data=np.asfortranarray(ROWS), labels=LABELS), protocol=2), id='fortran-order'),
    ],
)
def test_every_form_of_a_batch_is_read(content):
    images, labels = load_batch(content, 'data_batch_1')
    np.testing.assert_array_equal(images, IMAGES)
    assert labels == LABELS


@pytest.mark.parametrize(
    ('encoding', 'key', 'text'),
    [
        ('bytes', lambda name: name.encode(), b'batch one'),
        ('latin1', str, 'batch one'),
    ],
    ids=['bytes', 'latin1'],
)
def test_written_batches_read_like_the_official_ones(encoding, key, text):
    batch = pickle.loads(dump_batch(IMAGES, LABELS, batch_label=b'batch one'), encoding=encoding)
    np.testing.assert_array_equal(batch[key('data')], ROWS)
    assert batch[key('labels')] == LABELS
    assert batch[key('batch_label')] == text


def test_samples_hold_rgb_images_and_labels(root):
    train, test = CIFAR10(str(root)), CIFAR10(str(root), 'test', test_mode=True)
    assert (len(train), len(test)) == (20, 4)
    np.testing.assert_array_equal(train[5]['img'], IMAGES[1])
    assert [train[i]['gt_label'] for i in range(8)] == [3, 0, 9, 1, 4, 1, 0, 2]
    assert test[0]['gt_label'] == 8
    assert train.CLASSES[:3] == ('airplane', 'automobile', 'bird')


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_a_batch_cannot_run_code(root, protocol):
    trace = root / 'trace'
    path = root / 'cifar-10-batches-py' / 'data_batch_3'
    path.write_bytes(pickle.dumps(dict(data=ROWS, labels=LABELS, extra=Malicious(trace)), protocol=protocol))
    with pytest.raises(ValueError, match='data_batch_3.*open'):
        CIFAR10(str(root))
    assert not trace.exists()


@pytest.mark.parametrize(
    'content',
    [
        pytest.param(dump_batch(IMAGES, LABELS)[:5000], id='truncated'),
        pytest.param(b'', id='empty'),
        pytest.param(b'<html>not found</html>', id='web-page'),
        pytest.param(pickle.dumps([1, 2]), id='no-dict'),
        pytest.param(pickle.dumps(dict(labels=LABELS)), id='no-images'),
        pytest.param(pickle.dumps(dict(data=ROWS[:, :3000], labels=LABELS), protocol=2), id='small-images'),
        pytest.param(pickle.dumps(dict(data=ROWS.astype(float), labels=LABELS), protocol=2), id='floats'),
        pytest.param(pickle.dumps(dict(data=np.array([print], object), labels=LABELS), protocol=2), id='objects'),
        pytest.param(pickle.dumps(dict(data=ROWS, labels=LABELS[:3]), protocol=2), id='too-few-labels'),
        pytest.param(pickle.dumps(dict(data=ROWS, labels=[0, 1, 2, 10]), protocol=2), id='label-too-large'),
    ],
)
def test_a_damaged_batch_is_named(root, content):
    (root / 'cifar-10-batches-py' / 'test_batch').write_bytes(content)
    with pytest.raises(ValueError, match='test_batch'):
        CIFAR10(str(root), split='test')


def test_a_missing_folder_names_the_tool(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.*prepare_cifar10.py'):
        CIFAR10(str(tmp_path / 'nowhere'))


def test_a_missing_batch_is_named(root):
    (root / 'cifar-10-batches-py' / 'data_batch_5').unlink()
    assert len(CIFAR10(str(root), split='test')) == 4
    with pytest.raises(FileNotFoundError, match='data_batch_5'):
        CIFAR10(str(root))


def test_an_unknown_split_is_refused(root):
    with pytest.raises(ValueError, match="'val'"):
        CIFAR10(str(root), split='val')
