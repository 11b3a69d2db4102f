# SPDX-License-Identifier: GPL-2.0
"""Disk images seen from the host: contents that can be told apart, and looked for."""

import hashlib
import os
import random
from pathlib import Path

BLOCK = 512


def pattern(seed: int | str, size: int) -> bytes:
    """Data that a seed brings forth again, and no other does."""
    return random.Random(seed).randbytes(size)


def make(image: Path, size: int, contents: bytes = b"") -> Path:
    """An image that begins with these contents; the rest is a hole."""
    image.write_bytes(contents)
    os.truncate(image, size)
    return image


def part(image: Path, lba: int, blocks: int) -> bytes:
    """What an image holds at a block address."""
    with open(image, "rb") as data:
        data.seek(lba * BLOCK)
        return data.read(blocks * BLOCK)


def put(image: Path, lba: int, contents: bytes) -> None:
    """Changes an image behind the guest's back."""
    with open(image, "r+b") as data:
        data.seek(lba * BLOCK)
        data.write(contents)


def digest(contents: Path | bytes) -> str:
    if isinstance(contents, bytes):
        return hashlib.sha256(contents).hexdigest()
    with open(contents, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
