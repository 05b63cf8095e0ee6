"""Read pictures whole, or name them in an error."""

from __future__ import annotations

import os
from pathlib import Path

from mmcv.transforms import LoadImageFromFile as _LoadImageFromFile

from ..registry import TRANSFORMS
from .pictures import check_picture


@TRANSFORMS.register_module()
class LoadImageFromFile(_LoadImageFromFile):
    """mmcv's LoadImageFromFile, which names the file that it cannot read, and refuses one that is cut off.

    Decoders differ in what they make of the missing part: grey in some versions, an error without a name in others.
    Only files of this machine are looked at before they are decoded.

    The arguments are those of mmcv's; with ``ignore_empty`` a picture that cannot be read is left out in training.

    Raises:
        ValueError: If the file that is to be read is missing, empty, cut off, or no picture.
    """

    def transform(self, results: dict) -> dict | None:
        path = results['img_path']
        try:
            if os.path.isfile(path):
                check_picture(Path(path).read_bytes())
            return super().transform(results)
        except Exception as error:
            if self.ignore_empty:
                return None
            undecoded = isinstance(error, AssertionError)  # this error only repeats the name
            reason = 'no picture' if undecoded else (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f'cannot read the picture {path}: {reason}. Mend it or take it out of the data set'
            ) from error
