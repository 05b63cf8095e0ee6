"""Odd but real video files, made by PyAV, each with what reading it must give.

Every frame shows its own number in eight black or white bars, so that a decoded frame tells which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

HEIGHT, WIDTH, FRAMES, RATE = 96, 128, 60, 25
READERS = ('Decord', 'PyAV', 'OpenCV')


def picture(number: int) -> np.ndarray:
    """The frame as uint8 (H, W, 3), RGB; below the bars it is green, which tells where down is."""
    image = np.full((HEIGHT, WIDTH, 3), (40, 200, 40), np.uint8)
    for bit in range(8):
        image[:64, bit * 16 : bit * 16 + 16] = 230 if number >> bit & 1 else 20
    return image


def number_in(image: np.ndarray) -> int:
    """Which frame it is; the shape and the green show that it stands upright."""
    assert image.shape == (HEIGHT, WIDTH, 3), image.shape
    assert image[76:92, :, 1].mean() > 150 > 100 > image[76:92, :, 0].mean()
    return sum(int(image[8:56, bit * 16 + 4 : bit * 16 + 12].mean() > 125) << bit for bit in range(8))


@dataclass
class Odd:
    """A file: how it is made, and what it must give.

    Attributes:
        name: Of the file, with its suffix.
        make: Writes it to a path.
        plays: The numbers of the frames in the order in which they play; None if the file must be refused.
        refused: A pattern in the error, if it is refused; the readers word it in their ways.
        not_by: Readers of mmaction2 that must refuse it although others can read it.
    """

    name: str
    make: Callable[[Path], None]
    plays: list[int] | None = None
    refused: str = ''
    not_by: tuple[str, ...] = ()


def encode(
    path: Path,
    codec: str = 'libx264',
    form: str | None = None,
    group: int = 12,
    reorder: int = 2,
    numbers: Iterable[int] = range(FRAMES),
    pixels: str = 'yuv420p',
    times: Callable[[int], int] | None = None,
    codec_options: dict | None = None,
    options: dict | None = None,
    sound: bool = False,
) -> None:
    """Write the frames; ``times`` gives the milliseconds at which the i-th is shown."""
    with av.open(str(path), 'w', format=form, options=options or {}) as out:
        stream = out.add_stream(codec, rate=RATE, options=codec_options or {})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, pixels, 800_000
        stream.gop_size = group
        if codec in ('libx264', 'libx265', 'mpeg1video', 'mpeg2video', 'mpeg4'):
            stream.codec_context.max_b_frames = reorder
        if times:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        speaker = out.add_stream('aac', rate=16000) if sound else None
        for i, number in enumerate(numbers):
            frame = av.VideoFrame.from_ndarray(picture(number), format='rgb24')
            if times:
                frame.pts, frame.time_base = times(i), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if speaker:
            out.mux(speaker.encode(silence()))
            out.mux(speaker.encode())


def silence(samples: int = 16000) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.float32), format='fltp', layout='mono')
    frame.rate = 16000
    return frame


def copy_packets(
    source: Path, path: Path, form: str | None = None, first: int = 0, earlier: float = 0, options: dict | None = None
) -> None:
    """Trim without coding anew: leave out packets before ``first``, shift the others by seconds."""
    with av.open(str(source)) as given, av.open(str(path), 'w', format=form, options=options or {}) as out:
        stream = given.streams.video[0]
        copied = out.add_stream_from_template(stream)
        shift = int(earlier / stream.time_base)
        for i, packet in enumerate(given.demux(stream)):
            if packet.dts is not None and i >= first:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                out.mux(packet)


def trimmed(first: int, earlier: float = 0, **options) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        source = path.with_name(f'source of {path.stem}.mp4')
        encode(source)
        copy_packets(source, path, first=first, earlier=earlier, **options)
        source.unlink()

    return make


def coded(**options) -> Callable[[Path], None]:
    return lambda path: encode(path, **options)


def changed(change: Callable[[bytearray], bytes], **options) -> Callable[[Path], None]:
    """A good file whose bytes are changed."""

    def make(path: Path) -> None:
        encode(path, **options)
        path.write_bytes(change(bytearray(path.read_bytes())))

    return make


def cut(share: float = 0.61, **options) -> Callable[[Path], None]:
    """A good file of which only the beginning is there, and not a whole number of packets of it."""
    return changed(lambda data: data[: int(len(data) * share) // 2 * 2 + 1], **options)


def turned(quarters: int) -> Callable[[bytearray], bytes]:
    """What phones do: the frames lie on their side, and a matrix in the header tells how to turn them."""

    def change(data: bytearray) -> bytes:
        cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
        at = data.find(b'tkhd') + 4 + 40  # version 0
        right, down = [(0, 0), (HEIGHT, 0), (WIDTH, HEIGHT), (0, WIDTH)][quarters]
        matrix = [cos << 16, sin << 16, 0, -sin * (1 << 16), cos << 16, 0, right << 16, down << 16, 1 << 30]
        data[at : at + 36] = np.array(matrix, '>i4').tobytes()
        return data

    return change


def shorter_edit(data: bytearray) -> bytes:
    """What phones do when a video is trimmed: an edit list ends the first 1.2 seconds in, nothing is removed."""
    at = data.find(b'elst') + 12
    data[at : at + 4] = (1200).to_bytes(4, 'big')
    return data


def sound_only(path: Path, form: str, codec: str) -> None:
    with av.open(str(path), 'w', format=form) as out:
        speaker = out.add_stream(codec, rate=16000)
        out.mux(speaker.encode(silence(1024 if codec == 'aac' else 1152)))
        out.mux(speaker.encode())


def one_picture(path: Path) -> None:
    Image.fromarray(picture(5)).save(path, format='JPEG')


def twice(data: bytearray) -> bytes:
    return data + data


def hole(data: bytearray) -> bytes:
    """As a download leaves it that reserved the space and broke off."""
    start = len(data) * 6 // 10
    return data[:start] + bytes(len(data) - start)


def text(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


ALL = list(range(FRAMES))
ODD = [
    Odd('closed groups.mp4', coded(), ALL),
    Odd('one group.mp4', coded(group=250), ALL),
    Odd('open groups.mp4', coded(codec_options={'x264-params': 'open-gop=1'}), ALL),
    Odd('hevc.mp4', coded(codec='libx265'), ALL),
    Odd('hevc ten bits.mkv', coded(codec='libx265', pixels='yuv420p10le'), ALL),
    Odd('h264.avi', coded(), ALL),
    Odd('mpeg4 reordered.avi', coded(codec='mpeg4'), ALL),
    Odd('mpeg4 in order.avi', coded(codec='mpeg4', reorder=0), ALL),
    Odd('mpeg4.mp4', coded(codec='mpeg4'), ALL),
    Odd('motion jpeg.avi', coded(codec='mjpeg', pixels='yuvj420p'), ALL),
    Odd('lossless.mkv', coded(codec='ffv1'), ALL),
    Odd('vp9.webm', coded(codec='libvpx-vp9'), ALL),
    Odd('live.webm', coded(codec='libvpx', options=dict(live='1')), ALL, 'decord cannot open it', ('Decord',)),
    Odd('av1.mp4', coded(codec='libsvtav1'), ALL, 'decord cannot open it', ('Decord',)),
    Odd('mpeg2.mpg', coded(codec='mpeg2video', form='mpeg'), ALL),
    Odd('mpeg1.mpg', coded(codec='mpeg1video', form='mpeg'), ALL),
    Odd('disc.vob', coded(codec='mpeg2video', form='vob'), ALL),
    Odd('h264.ts', coded(), ALL),
    Odd('mpeg2.ts', coded(codec='mpeg2video'), ALL),
    Odd('camera.m2ts', coded(form='mpegts', options=dict(mpegts_m2ts_mode='1')), ALL),
    Odd('h264.flv', coded(), ALL),
    Odd('sorenson.flv', coded(codec='flv'), ALL),
    Odd('windows.wmv', coded(codec='wmv2'), ALL),
    Odd('header first.mp4', coded(options=dict(movflags='faststart')), ALL),
    Odd('fragments.mp4', coded(options=dict(movflags='frag_keyframe+empty_moov')), ALL),
    Odd('uneven times.mp4', coded(times=lambda i: 40 * i + i % 7 * 5), ALL),
    Odd('late start.mp4', coded(times=lambda i: 5000 + 40 * i), ALL),
    Odd('with sound.mp4', coded(sound=True), ALL),
    Odd('trimmed.mp4', trimmed(12, earlier=0.68), ALL[17:]),
    Odd('trimmed.mov', trimmed(12, earlier=0.68), ALL[17:]),
    Odd('trimmed.mkv', trimmed(12, earlier=0.48), ALL[12:]),
    Odd('trimmed.ts', trimmed(12), ALL[12:]),
    Odd('between key frames.mp4', trimmed(17), ALL[24:]),
    Odd('between key frames.ts', trimmed(5), ALL[12:]),
    Odd('end edited away.mp4', changed(shorter_edit), ALL[:30]),
    Odd('turned right.mp4', changed(turned(1)), ALL),
    Odd('turned round.mp4', changed(turned(2)), ALL),
    Odd('turned left.mp4', changed(turned(3)), ALL),
    Odd('joined.ts', changed(twice), ALL + ALL),
    Odd('cut.mp4', cut(), refused='truncated'),
    Odd('cut header first.mp4', cut(options=dict(movflags='faststart')), refused='truncated'),
    Odd('cut.avi', cut(codec='mpeg4'), refused='truncated'),
    Odd('cut.mkv', cut(), refused='truncated'),
    Odd('cut.flv', cut(), refused='truncated'),
    Odd('cut unsized.flv', cut(options=dict(flvflags='no_duration_filesize')), refused='do not end as a packet does'),
    Odd('cut.ts', cut(), refused='do not end as a packet does'),
    Odd('cut.m2ts', cut(form='mpegts', options=dict(mpegts_m2ts_mode='1')), refused='do not end as a packet does'),
    Odd('cut.mpg', cut(codec='mpeg2video', form='mpeg'), refused='do not end as a packet does'),
    Odd('cut.wmv', cut(codec='wmv2'), refused='truncated'),
    Odd('empty.mp4', text(b''), refused='the file is empty'),
    Odd(
        'page.mp4',
        text(b'<!DOCTYPE html><html><body>Not found</body></html>'),
        refused='cannot open it|Invalid data|OpenCV can open',
    ),
    Odd('sound.mp4', lambda path: sound_only(path, 'mp4', 'aac'), refused='cannot open it|no video'),
    Odd('song.mp4', lambda path: sound_only(path, 'mp3', 'libmp3lame'), refused='cannot open it|no video'),
    Odd('photo.mp4', one_picture, refused='cannot open it|1 frames'),
    Odd('one frame.mp4', coded(numbers=[3]), refused='1 frames'),
    Odd('hole.mp4', changed(hole, options=dict(movflags='faststart')), refused='damaged|Invalid data'),
    Odd(
        'hole in order.mp4',
        changed(hole, reorder=0, options=dict(movflags='faststart')),
        refused='damaged|Invalid data',
    ),
    Odd('hole.mkv', changed(hole), refused='no part of a Matroska file'),
    Odd('hole.webm', changed(hole, codec='libvpx-vp9'), refused='no part of a Matroska file'),
    Odd('hole.avi', changed(hole, codec='mpeg4'), refused='damaged'),
    Odd('hole.ts', changed(hole), refused='do not end as a packet does'),
    Odd('hole.mpg', changed(hole, codec='mpeg2video', form='mpeg'), refused='do not end as a packet does'),
    Odd('hole.flv', changed(hole), refused='do not end as a packet does'),
]
