"""A broken picture of an image data set is named by every tool that reads it."""

import io
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmcgc.apis import launch
from mmcgc.command_line import plain_errors
from mmcgc.datasets import LoadImageFromFile

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def picture(form: str, share: float = 1, **options) -> bytes:
    """The bytes of a picture, or the first part of them."""
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, form, **options)
    return content.getvalue()[: int(len(content.getvalue()) * share)]


BROKEN = {
    'cut.jpg': (picture('JPEG', 0.8), 'truncated'),
    'cut at the end.jpg': (picture('JPEG')[:-1], 'truncated'),
    'progressive.jpg': (picture('JPEG', 0.8, progressive=True), 'truncated'),
    'cut.png': (picture('PNG', 0.8), 'truncated'),
    'cut.webp': (picture('WEBP', 0.8), 'truncated'),
    'cut.bmp': (picture('BMP', 0.8), 'truncated'),
    'cut.ppm': (picture('PPM', 0.8), 'no picture'),
    'cut.tif': (picture('TIFF', 0.8), 'no picture'),
    'packed.tif': (picture('TIFF', 0.8, compression='tiff_lzw'), 'no picture'),
    'empty.jpg': (b'', 'the picture is empty'),
    'page.jpg': (b'<html>Not found</html>', 'no picture'),
    'missing.jpg': (None, 'No such file'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_picture_is_named(tmp_path, name):
    content, message = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=rf'cannot read the picture {tmp_path}/{name}: .*{message}.*\. Mend it or take'
    ):
        LoadImageFromFile()(dict(img_path=str(tmp_path / name)))
    assert LoadImageFromFile(ignore_empty=True)(dict(img_path=str(tmp_path / name))) is None


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'BMP', 'PPM', 'TIFF'])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_a_whole_one_is_what_mmcv_reads(tmp_path, form, backend):
    (tmp_path / 'whole').write_bytes(picture(form))
    kinds = ('mmcgc.LoadImageFromFile', 'mmengine.LoadImageFromFile')
    read = [TRANSFORMS.build(dict(type=kind, imdecode_backend=backend)) for kind in kinds]
    ours, theirs = (step(dict(img_path=str(tmp_path / 'whole'))) for step in read)
    np.testing.assert_array_equal(ours['img'], theirs['img'])
    assert ours['img_shape'] == (40, 48) and type(read[0]) is LoadImageFromFile is not type(read[1])


@pytest.fixture
def cut(tiny, tmp_path):
    """Options for the tiny data set with one cut picture in it."""
    shutil.copytree(tiny.root / 'train', tmp_path / 'train')
    data = (tmp_path / 'train/class1/3.png').read_bytes()
    (tmp_path / 'train/class1/3.png').write_bytes(data[:-20])
    loaders = [f'{name}_dataloader' for name in ('train', 'val', 'test')]
    places = dict(data_root=str(tmp_path), data_prefix='train')
    return {f'{loader}.dataset.{key}': value for loader in loaders for key, value in places.items()}


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('tool', ['train', 'test', 'test, flipped'])
def test_a_tool_says_so_in_one_line(tiny, trained, own_scope, tmp_path, cut, tool, workers):
    loading = {f'{tool.partition(",")[0]}_dataloader.num_workers': workers}
    options = dict(work_dir=str(tmp_path / 'run'), cfg_options={**cut, **loading})
    with pytest.raises(SystemExit) as stop, plain_errors():
        if tool == 'train':
            launch.train(str(tiny.config), **options)
        else:
            launch.test(str(tiny.config), str(trained / 'epoch_2.pth'), tta='flipped' in tool, **options)
    assert str(stop.value).startswith(
        f'error: cannot read the picture {tmp_path}/train/class1/3.png: the picture is trunc'
    )
    assert '\n' not in str(stop.value)


def test_the_configs_of_mmpretrain_are_read_so_too(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'\n")
    cfg = launch.load_config(str(tmp_path / 'mine.py'), None, None, 'none')
    launch.set_dataloader_defaults(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[0] == dict(type='mmcgc.LoadImageFromFile')
    assert Config.fromfile(tmp_path / 'mine.py').train_dataloader.dataset.pipeline[0].type == 'LoadImageFromFile'
