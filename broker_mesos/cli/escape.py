"""The escape that leaves an interactive session whose other end may not answer: Enter, then ``~.``, as in ssh."""

from __future__ import annotations

_LINE_ENDS = b"\r\n"


class Escape:
    """Finds the escape in what is typed. ``~~`` after Enter stands for one ``~``."""

    def __init__(self) -> None:
        self._at_start = True
        self._tilde = False

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on of some input, and whether it has the escape, after which nothing counts."""
        passed = bytearray()
        for byte in data:
            if self._tilde:
                self._tilde = False
                if byte == ord("."):
                    return bytes(passed), True
                if byte != ord("~"):
                    passed += b"~"
            elif self._at_start and byte == ord("~"):
                self._tilde, self._at_start = True, False
                continue
            passed.append(byte)
            self._at_start = byte in _LINE_ENDS
        return bytes(passed), False
