"""Stand-ins for what has to be downloaded: archives, frames and text of the official forms, small and fabricated."""

import io
import json
import random
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from mmcgc.datasets.cifar_batches import dump_batch, dump_official
from mmcgc.datasets.imagenette import CLASSES as IMAGENETTE_CLASSES
from mmcgc.datasets.prepare_cifar10 import BATCH_NAMES

STHV1_CLASSES = ['Holding something', 'Turning the camera left while filming something', 'Dropping something']
STHV1_MEMBERS = dict(train={'100': 2, '7': 0, '31': 1, '8': 0}, validation={'12': 1, '9': 2}, test={'55': None})
STHV1_FRAMES = {'100': 5, '7': 3, '31': 12, '8': 2, '12': 4, '9': 6, '55': 3}
GERMAN = 'der die ein Hund Katze Haus Auto läuft schläft und sieht groß klein nicht'.split()
ENGLISH = 'the a one dog cat house car runs sleeps and sees big small not'.split()
IWSLT_SETS = ('TED.dev2010', 'TEDX.dev2012', 'TED.tst2010', 'TED.tst2011', 'TED.tst2012')


def write_folder(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_tar(path: Path, content: dict, mode: str = 'w:gz') -> Path:
    """An archive of bytes, or of members that are given whole, by name."""
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            member = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            if data is not member:
                member.size = len(data)
            archive.addfile(member, None if data is member else io.BytesIO(data))
    return path


def cifar_archive(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """The official archive: six batches, each with a sixth of (N, 32, 32, 3) images; a member must not be unpacked."""
    size = len(images) // len(BATCH_NAMES)
    files = {
        name: dump_batch(images[i * size :][:size], labels[i * size :][:size]) for i, name in enumerate(BATCH_NAMES)
    }
    files |= {'batches.meta': dump_official({'num_vis': 3072}), '../../escaped': b'out', 'readme.html': b'<html>'}
    return write_tar(path, {f'cifar-10-batches-py/{name}': content for name, content in files.items()})


def picture(label: int, form: str = 'JPEG', size: tuple[int, int] = (24, 32)) -> bytes:
    """Noise that is the brighter, the higher the label."""
    noise = np.random.default_rng(label).integers(0, 20, (*size, 3))
    buffer = io.BytesIO()
    Image.fromarray((noise + 20 * label).astype(np.uint8)).save(buffer, form)
    return buffer.getvalue()


def imagenette_files(suffix: str = 'JPEG', **options) -> dict[str, bytes]:
    """Two pictures of each class to train, one to validate."""
    form = dict(webp='WEBP').get(suffix, 'JPEG')
    return {
        f'{split}/{name}/{name}_{i}.{suffix}': picture(label, form, **options)
        for split, count in dict(train=2, val=1).items()
        for label, name in enumerate(IMAGENETTE_CLASSES)
        for i in range(count)
    }


def objectnet_files() -> dict[str, bytes]:
    """Two objects that ImageNet has, one of them as two classes, and one that it lacks; two framed pictures each."""
    objects = {'Alarm clock': 'analog clock; digital clock', 'Banana': 'banana'}
    folders = {'air_freshener': 'Air freshener', 'alarm_clock': 'Alarm clock', 'banana': 'Banana'}
    pixels = np.full((400, 300, 3), (255, 0, 0), np.uint8)  # a red frame
    pixels[2:-2, 2:-2] = (0, 0, 255)  # around blue
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    mappings = {'objectnet_to_imagenet_1k.json': objects, 'folder_to_objectnet_label.json': folders}
    images = {f'images/{folder}/{i}.png': buffer.getvalue() for folder in folders for i in range(2)}
    return images | {f'mappings/{name}': json.dumps(value).encode() for name, value in mappings.items()}


def sthv1_labels(folder: Path) -> Path:
    lines = dict(
        labels=STHV1_CLASSES,
        **{
            split: [i if label is None else f'{i};{STHV1_CLASSES[label]}' for i, label in members.items()]
            for split, members in STHV1_MEMBERS.items()
        },
    )
    return write_folder(
        folder,
        {f'something-something-v1-{name}.csv': ('\n'.join(text) + '\n').encode() for name, text in lines.items()},
    )


def sthv1_frames(folder: Path, frame: bytes | None = None) -> Path:
    frame = frame or picture(3, size=(16, 24))
    return write_folder(
        folder, {f'{i}/{number:05d}.jpg': frame for i, count in STHV1_FRAMES.items() for number in range(1, count + 1)}
    )


def parallel_text(folder: Path, valid: str = 'valid', test: str = 'test') -> Path:
    """Plain pairs: 200 to train, 20 to validate, 20 to test."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(0)
    for split, count in {'train': 200, valid: 20, test: 20}.items():
        pairs = [[generator.randrange(len(GERMAN)) for _ in range(generator.randint(2, 9))] for _ in range(count)]
        for language, words in dict(de=GERMAN, en=ENGLISH).items():
            lines = [' '.join(words[i] for i in pair).capitalize() + '.\n' for pair in pairs]
            (folder / f'{split}.{language}').write_text(''.join(lines), encoding='utf-8')
    return folder


def tokenised_text(folder: Path) -> Path:
    """The same, tokenised and lower-cased."""
    for path in parallel_text(folder).iterdir():
        path.write_text(path.read_text(encoding='utf-8').replace('.\n', ' .\n').lower(), encoding='utf-8')
    return folder


def iwslt_folder(folder: Path) -> Path:
    """What the raw archive holds: 50 sentences, a few to be cleaned away, between the tags of talks."""
    folder.mkdir(parents=True)
    german = [f'Satz Nummer {i} ist „schön“.' for i in range(50)]
    english = [f"Sentence number {i} isn't bad." for i in range(50)]
    german[3], english[4], english[5], german[6] = '', ' ', 'Far too many words for it.' * 3, 'Wort ' * 180
    for language, lines in dict(de=german, en=english).items():
        text = [
            f'<url>http://{language}</url>',
            '<keywords>talks</keywords>',
            '<talkid>1</talkid>',
            f'<title>Titel {language}</title>',
            f'<description>Über {language} &amp; mehr</description>',
            *lines,
        ]
        (folder / f'train.tags.de-en.{language}').write_text('\n'.join(text) + '\n')
        for n, name in enumerate(IWSLT_SETS):
            segments = [f'<seg id="{i}"> {language.upper()}’s {n}.{i} </seg>' for i in (1, 2)]
            xml = ['<?xml version="1.0"?>', '<doc docid="1">', '<talkid>1</talkid>', *segments, '</doc>']
            (folder / f'IWSLT14.{name}.de-en.{language}.xml').write_text('\n'.join(xml) + '\n')
    return folder


def tar_folder(path: Path, folder: Path, name: str, mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        archive.add(folder, name)
    return path
