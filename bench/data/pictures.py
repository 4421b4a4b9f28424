"""Read pictures of objects as square 8-bit arrays.

`CloudSet.views` holds such arrays.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.signature import refuse_foreign
from bench.errors import DataError

LARGEST_PIXELS = 64_000_000
"""Most pixels of a picture; a file of a few kilobytes can announce billions."""


def read_picture(path: Path, size: int, *, keep_hidden: bool = False) -> npt.NDArray[np.uint8]:
    """Read a picture as a square array.

    Args:
        path: PNG, JPEG or another format of Pillow, 8 bits per channel.
        size: Height and width of the result; other sizes are resampled (bicubic, antialiased).
        keep_hidden: Drop the transparency and show the colours behind it, as the released loaders do; otherwise
            transparent pixels become white.

    Returns:
        uint8 ``[size, size, 3]``, red first.

    Raises:
        DataError: Missing, no picture, damaged, too large, or more than 8 bits a channel.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > LARGEST_PIXELS:
                raise DataError(f"{path}: has {picture.width} x {picture.height} pixels; expected a small rendering")
            if picture.mode.startswith(("I", "F")):
                raise DataError(f"{path}: has more than 8 bits a channel (mode {picture.mode}); store it with 8")
            transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            if transparent and not keep_hidden:
                front = picture.convert("RGBA")
                shown = Image.new("RGBA", front.size, "white")
                shown.alpha_composite(front)
                plain = shown.convert("RGB")
            else:
                plain = picture.convert("RGBA").convert("RGB") if transparent else picture.convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        refuse_foreign(path)
        raise DataError(f"{path}: is not a picture, or is damaged; copy or download it again") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: has too many pixels; expected a small rendering") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be decoded ({reason}); copy or download it again") from error
    if plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(plain, dtype=np.uint8)
