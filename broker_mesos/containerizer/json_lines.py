"""Messages on a stream: one JSON array on each line. The spawner imports this file: standard library only."""

from __future__ import annotations


class JsonLines:
    """Splits what was received into lines."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.buffered = 0
        """Bytes of a line whose end has not been received yet."""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete with this data."""
        head, newline, rest = data.rpartition(b"\n")
        lines: list[bytes] = []
        if newline:
            lines = b"".join([*self._parts, head]).split(b"\n")
            self.clear()
        if rest:
            self._parts.append(rest)
            self.buffered += len(rest)
        return lines

    def clear(self) -> None:
        """Forget an incomplete line."""
        self._parts, self.buffered = [], 0
