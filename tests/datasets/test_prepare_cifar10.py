"""From the archive or the pack to the folder: complete, checked, or not at all."""

import tarfile

import numpy as np
import pytest
from mmpretrain.datasets.utils import calculate_md5
from PIL import Image
from stand_ins import cifar_archive

from mmcgc.datasets import CIFAR10, prepare_cifar10

PER_BATCH, PER_STACK = 4, 2
IMAGES = np.random.default_rng(0).integers(0, 256, (6 * PER_BATCH, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(len(IMAGES)) % 10


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(prepare_cifar10, 'PER_BATCH', PER_BATCH)
    monkeypatch.setattr(prepare_cifar10, 'PER_STACK', PER_STACK)


@pytest.fixture
def pack(tmp_path):
    folder = tmp_path / 'pack'
    folder.mkdir()
    train = 5 * PER_BATCH
    for split, images, labels in (('train', IMAGES[:train], LABELS[:train]), ('test', IMAGES[train:], LABELS[train:])):
        np.save(folder / f'{split}_labels.npy', labels)
        for i in range(len(images) // PER_STACK):
            stack = images[i * PER_STACK : (i + 1) * PER_STACK].reshape(-1, 32, 3)
            Image.fromarray(stack).save(folder / f'{split}_{i:03d}.webp', lossless=True)
    return folder


@pytest.fixture
def archive(tmp_path, monkeypatch):
    path = cifar_archive(tmp_path / 'cifar-10-python.tar.gz', IMAGES, LABELS)
    monkeypatch.setattr(prepare_cifar10.CIFAR10, 'tgz_md5', calculate_md5(str(path)))
    return path


def to_tar(folder, names):
    path = folder.parent / f'{names[0]}.tar'
    with tarfile.open(path, 'w') as tar:
        for name in names:
            tar.add(folder / name, name)
            (folder / name).unlink()
    return path


def check(root):
    train, test = CIFAR10(str(root)), CIFAR10(str(root), split='test')
    samples = [*train, *test]
    np.testing.assert_array_equal([s['img'] for s in samples], IMAGES)
    assert [s['gt_label'] for s in samples] == LABELS.tolist()
    assert sorted(p.name for p in root.rglob('*')) == sorted(
        ['cifar-10-batches-py', 'batches.meta', *prepare_cifar10.BATCH_NAMES]
    )


@pytest.mark.parametrize('form', ['folder', 'folder-of-tars', 'tars'])
def test_pack_becomes_the_official_form(pack, tmp_path, form):
    names = sorted(p.name for p in pack.iterdir())
    sources = [pack]
    if form != 'folder':
        tars = [to_tar(pack, names[:5]), to_tar(pack, names[5:])]
        sources = tars if form == 'tars' else [tmp_path]
    prepare_cifar10.prepare_cifar10(sources, tmp_path / 'out')
    check(tmp_path / 'out')


def test_archive_is_unpacked_by_name_only(archive, tmp_path):
    root = tmp_path / 'deep' / 'out'
    prepare_cifar10.prepare_cifar10([archive], root)
    check(root)
    assert not list(tmp_path.rglob('escaped'))


def test_a_second_run_gives_the_same_files(pack, tmp_path):
    contents = []
    for _ in range(2):
        folder = prepare_cifar10.prepare_cifar10([pack], tmp_path / 'out')
        contents.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert contents[0] == contents[1]


def test_a_truncated_archive_is_refused(archive, tmp_path):
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(ValueError, match='cifar-10-python.tar.gz.*md5'):
        prepare_cifar10.prepare_cifar10([archive], tmp_path / 'out')


@pytest.mark.parametrize(
    ('name', 'error'),
    [
        ('train_004.webp', ValueError),
        ('test_000.webp', ValueError),
        ('train_labels.npy', ValueError),
    ],
)
def test_a_truncated_piece_is_named_and_nothing_is_left(pack, tmp_path, name, error):
    path = pack / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(error, match=name):
        prepare_cifar10.prepare_cifar10([pack], tmp_path / 'out')
    assert not list((tmp_path / 'out').glob('*'))


def test_a_failed_run_leaves_the_old_files(pack, tmp_path):
    folder = prepare_cifar10.prepare_cifar10([pack], tmp_path / 'out')
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (pack / 'test_001.webp').write_bytes(b'RIFF')
    with pytest.raises(ValueError, match='test_001.webp'):
        prepare_cifar10.prepare_cifar10([pack], tmp_path / 'out')
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_missing_pieces_are_named(pack, tmp_path):
    (pack / 'train_007.webp').unlink()
    with pytest.raises(FileNotFoundError, match='1 pieces.*train_007.webp'):
        prepare_cifar10.prepare_cifar10([pack], tmp_path / 'out')


def test_a_truncated_tar_is_named(pack, tmp_path):
    path = to_tar(pack, sorted(p.name for p in pack.iterdir()))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=path.name):
        prepare_cifar10.prepare_cifar10([path], tmp_path / 'out')


def test_labels_that_hold_objects_are_not_unpickled(pack, tmp_path):
    np.save(pack / 'test_labels.npy', np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match='test_labels.npy'):
        prepare_cifar10.prepare_cifar10([pack], tmp_path / 'out')


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        prepare_cifar10.prepare_cifar10([tmp_path / 'nowhere'], tmp_path / 'out')
