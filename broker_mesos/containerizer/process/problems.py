"""What an operator has to know of the spawner: it is logged there, and shown by the agent. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MAX_PROBLEMS = 8
MAX_CHARS = 300


class Problems:
    """The problems that there are now, by their kind, as lines of text; at most MAX_PROBLEMS are shown."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._by_kind: dict[str, list[str]] = {}
        self._shown: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._by_kind)

    def note(self, kind: str, lines: Sequence[str]) -> None:
        """Put these lines in place of those of the kind; lines that are new are logged."""
        before = self._by_kind.pop(kind, [])
        if lines:
            self._by_kind[kind] = [" ".join(line.split())[:MAX_CHARS] for line in lines]
        for line in self._by_kind.get(kind, ()):
            if line not in before:
                self._log(line)

    @property
    def lines(self) -> list[str]:
        """The problems, as they are shown."""
        found = [line for lines in self._by_kind.values() for line in lines]
        if len(found) > MAX_PROBLEMS:
            found[MAX_PROBLEMS - 1 :] = [f"and {len(found) - MAX_PROBLEMS + 1} more problems: see the spawner's log"]
        return found

    def changed(self) -> list[str] | None:
        """The lines, if they are others than at the last call; else None."""
        lines = self.lines
        if lines == self._shown:
            return None
        self._shown = lines
        return lines
