"""Output without control characters: a file name may hold some, and a terminal would obey them."""

from __future__ import annotations

from typing import TextIO

_KEPT = "\n\t"
_CONTROLS = [*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # the last turn text around
_SHOWN = {code: ascii(chr(code))[1:-1] for code in _CONTROLS if chr(code) not in _KEPT}


class Plain:
    """A text stream that shows control characters as `\\x1b` and the like; all else is that of the stream behind it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        bar = text[:1] == "\r"  # a progress bar returns to the start of its line; a name in a text must not
        self._stream.write("\r" * bar + text[bar:].translate(_SHOWN))
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)
