"""What a picture says of its size is read without decoding it, and believed only within bounds."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tickets.conversation import image_size

Maker = Callable[[int, int], bytes]


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def jpeg(width: int, height: int) -> bytes:
    metadata = b"\xff\xe1" + struct.pack(">H", 1002) + b"\x00" * 1000
    return b"\xff\xd8" + metadata + b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width)


def webp(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + sizes


def webp_lossless(width: int, height: int) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + struct.pack("<I", width - 1 | height - 1 << 14)


def webp_lossy(width: int, height: int) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height)


KINDS: list[tuple[str, Maker]] = [
    ("image/png", png),
    ("image/gif", gif),
    ("image/jpeg", jpeg),
    ("image/webp", webp),
    ("image/webp", webp_lossless),
    ("image/webp", webp_lossy),
]


@pytest.mark.parametrize(("media_type", "make"), KINDS)
def test_a_picture_of_bearable_size_is_shown_and_a_bomb_is_not(media_type: str, make: Maker) -> None:
    assert image_size.is_displayable(make(1440, 900), media_type)
    assert not image_size.is_displayable(make(16_000, 16_000), media_type)


@pytest.mark.parametrize(("media_type", "make"), KINDS)
def test_what_is_cut_off_or_garbled_is_not_shown(media_type: str, make: Maker) -> None:
    whole = make(1440, 900)
    assert not image_size.is_displayable(whole[:9], media_type)
    assert not image_size.is_displayable(whole[:2] + b"\x00" * 400, "image/jpeg")


@pytest.mark.parametrize("media_type", ["image/svg+xml", "text/html", "application/pdf", "video/mp4"])
def test_no_other_kind_is_shown(media_type: str) -> None:
    assert not image_size.is_displayable(png(10, 10), media_type)
