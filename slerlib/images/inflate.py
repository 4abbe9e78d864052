"""Compressed bytes of a file, unpacked no further than asked for."""

from __future__ import annotations

from collections.abc import Iterator

STRIP_BYTES = 8 << 20  # of the pixels that are decoded at once


def bytes_of(file, lengths: list[tuple[int, int]]) -> Iterator[bytes]:
    for start, length in lengths:
        file.seek(start)
        while length > 0:
            data = file.read(min(length, 1 << 20))
            if not data:
                return
            length -= len(data)
            yield data


def inflated(unpack, source: Iterator[bytes], count: int) -> bytes:
    """The next bytes of a compressed stream; no more than asked for, whatever the stream holds."""
    out = bytearray()
    while len(out) < count:
        data = unpack.unconsumed_tail or next(source, b"")
        if not data and not unpack.unconsumed_tail:
            raise EOFError(f"the pixels end {count - len(out):,} bytes early")
        out += unpack.decompress(data, count - len(out))
    return bytes(out)
