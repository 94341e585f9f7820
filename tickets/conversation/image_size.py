"""How large a picture says it is, read from its first bytes. Nothing is decoded here: that is left to the browser, and
only for pictures that it can be expected to hold.

The library `imagesize` (2.0) reads the same sizes. It is not used, because it also parses SVG as XML and fetches addresses,
guesses the kind anew, and takes seven times as long over a JPEG of nothing but segments. It adds 4.6 MB to each web process.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

HEAD_BYTES = 256 << 10
"""Number of bytes read. In a JPEG the size may come after metadata."""
MAX_PIXELS = 50_000_000
FRAME = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]")


def is_displayable(head: bytes, media_type: str) -> bool:
    """Return whether an image that begins with these bytes may be displayed: of a known type, and not too large."""
    width, height = read_size(head, media_type)
    return 0 < width * height <= MAX_PIXELS


def read_size(head: bytes, media_type: str) -> tuple[int, int]:
    """Read width and height of an image that begins with these bytes, (0, 0) when it names none."""
    measure = _SIZE_READERS.get(media_type)
    try:
        return measure(head) if measure else (0, 0)
    except (struct.error, ValueError):
        return 0, 0


def _read_png_size(head: bytes) -> tuple[int, int]:
    """Read the dimensions in the header: https://www.w3.org/TR/png-3/#11IHDR"""
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _read_gif_size(head: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", head, 6)
    return width, height


def _read_webp_size(head: bytes) -> tuple[int, int]:
    """Read the dimensions in the first chunk: https://developers.google.com/speed/webp/docs/riff_container"""
    kind = head[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", head, 21)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_jpeg_size(head: bytes) -> tuple[int, int]:
    """Walk from segment to segment to the frame header: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, B.2.2."""
    at = 2
    while not FRAME.match(head, at):
        if head[at : at + 1] != b"\xff":
            raise ValueError("not a segment")
        at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    height, width = struct.unpack_from(">HH", head, at + 5)
    return width, height


_SIZE_READERS: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "image/png": _read_png_size,
    "image/gif": _read_gif_size,
    "image/webp": _read_webp_size,
    "image/jpeg": _read_jpeg_size,
}
RASTER = frozenset(_SIZE_READERS)
