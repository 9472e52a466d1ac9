"""Regular expressions whose matching time is bounded, whoever wrote them.

A framework's constraint is matched by the master against every agent. Python's `re` backtracks: a pattern
such as ``(a+)+b`` would block a cell for hours. This matcher follows all alternatives in parallel, in time
proportional to the length of the pattern times that of the text. It always matches the whole text.

Supported: literals, ``.``, ``[a-z]``, ``\\d \\w \\s`` and their negations, ``|``, ``( )``, ``* + ?``, ``{m,n}``,
``^`` at the start and ``$`` at the end (both have no effect), ``(?i)`` at the start. Refused: look-around,
back-references, ``\\b`` and named groups.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from broker_mesos.errors import InvalidInput

MAX_PATTERN: Final = 256
"""The longest pattern, in characters."""
MAX_STEPS: Final = 1000
"""The largest number of steps of a pattern after its ``{m,n}`` have been expanded."""
_MAX_DEPTH: Final = 20

_COUNT = re.compile(r"\{([0-9]{1,4})(?:(,)([0-9]{0,4}))?\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_RESERVED = re.compile(r"(?<!\\)(?:\[|--|&&|~~|\|\|)")  # `re` warns that these may change their meaning
_KNOWN_ESCAPES: Final = "dDwWsS"


class Pattern:
    """A compiled pattern: numbered steps. A step with a test consumes one character, one without a test forks."""

    __slots__ = ("_accept", "_forks", "_start", "_tests", "_work", "text")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN:
            raise InvalidInput(f"the pattern has {len(text)} characters: write at most {MAX_PATTERN}")
        self.text = text
        self._tests: list[re.Pattern[str] | None] = []
        self._forks: list[list[int]] = []
        self._work = 0
        self._accept = self._step(None)
        self._start = self._build(_Parser(text).parse(), self._accept)

    def fullmatch(self, text: str) -> bool:
        """Whether the pattern matches the whole of `text`."""
        now = self._closure([self._start])
        for char in text:
            after = [self._forks[step][0] for step in now if (test := self._tests[step]) and test.match(char)]
            if not after:
                return False
            now = self._closure(after)
        return self._accept in now

    def _closure(self, steps: list[int]) -> set[int]:
        seen: set[int] = set()
        while steps:
            step = steps.pop()
            if step not in seen:
                seen.add(step)
                if self._tests[step] is None:
                    steps.extend(self._forks[step])
        return seen

    def _step(self, test: re.Pattern[str] | None, *following: int) -> int:
        if len(self._tests) >= MAX_STEPS:
            raise self._too_much()
        self._tests.append(test)
        self._forks.append(list(following))
        return len(self._tests) - 1

    def _too_much(self) -> InvalidInput:
        return InvalidInput(f"the pattern {self.text!r} repeats too much: lower its {{m,n}} counts")

    def _build(self, node: Node, following: int) -> int:
        """Build the steps of `node` from its end to its start, and return the number of its first step."""
        self._work += 1
        if self._work > 4 * MAX_STEPS:  # repeating nothing, as in (a{0}){9999}, makes work but no steps
            raise self._too_much()
        if isinstance(node, re.Pattern):
            return self._step(node, following)
        if isinstance(node, Either):
            return self._step(None, *[self._build(branch, following) for branch in node.branches])
        if isinstance(node, Repeat):
            if node.most is None:
                loop = self._step(None, following)
                self._forks[loop].append(self._build(node.what, loop))
                following = loop
            else:
                end = following
                for _ in range(node.most - node.least):
                    following = self._step(None, end, self._build(node.what, following))
            for _ in range(node.least):
                following = self._build(node.what, following)
            return following
        for part in reversed(node):
            following = self._build(part, following)
        return following


class Either:
    """An alternation: one of several branches matches."""

    def __init__(self, branches: list[Node]) -> None:
        self.branches = branches


class Repeat:
    """A repetition of `what`, at least `least` times and at most `most` times (None: without limit)."""

    def __init__(self, what: Node, least: int, most: int | None) -> None:
        self.what, self.least, self.most = what, least, most


Node = re.Pattern[str] | Either | Repeat | list["Node"]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.flags = re.DOTALL | re.ASCII

    def parse(self) -> Node:
        if self._eat("(?i)"):
            self.flags |= re.IGNORECASE
        self._eat("^")
        node = self._either()
        if self.at < len(self.text):
            raise self._wrong("has a ')' too many")
        return node

    def _either(self) -> Node:
        branches: list[Node] = [self._sequence()]
        while self._eat("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Either(branches)

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            if self.text[self.at :] == "$":
                self.at += 1
                break
            parts.append(self._repeated(self._atom()))
        return parts

    def _repeated(self, node: Node) -> Node:
        least: int
        most: int | None
        if self._eat("*"):
            least, most = 0, None
        elif self._eat("+"):
            least, most = 1, None
        elif self._eat("?"):
            least, most = 0, 1
        elif match := _COUNT.match(self.text, self.at):
            self.at = match.end()
            least = int(match[1])
            most = least if match[2] is None else int(match[3]) if match[3] else None
            if most is not None and most < least:
                raise self._wrong("has a count with more at the left than at the right")
        else:
            return node
        self._eat("?")  # lazy or greedy is the same when the whole text must match
        if self.text[self.at : self.at + 1] in ("*", "+", "?") or _COUNT.match(self.text, self.at):
            raise self._wrong("repeats a repetition: put it in brackets")
        return Repeat(node, least, most)

    def _atom(self) -> Node:
        char = self.text[self.at]
        if char == "(":
            return self._group()
        if char in "*+?{}^$":
            raise self._wrong(f"has a {char!r} where it means nothing: write '\\{char}' for the character itself")
        if char == "[":
            match = _CLASS.match(self.text, self.at)
            if match is None:
                raise self._wrong("has a '[' without its ']'")
            if _RESERVED.search(match[0], 1):
                raise self._wrong("has one of '[ -- && || ~~' inside '[ ]': put a backslash before it")
            self.at = match.end()
            return self._one(match[0])
        if char == "\\":
            escaped = self.text[self.at + 1 : self.at + 2]
            self.at += 2
            if escaped in _KNOWN_ESCAPES and escaped:
                return self._one("\\" + escaped)
            if not escaped or (escaped.isascii() and escaped.isalnum()):
                raise self._wrong(f"has '\\{escaped}', which is not known here")
            return self._one(re.escape(escaped))
        self.at += 1
        return self._one(char if char == "." else re.escape(char))

    def _group(self) -> Node:
        if self.text.startswith("(?", self.at) and not self.text.startswith("(?:", self.at):
            raise self._wrong("has a '(?', of which only '(?:' is known here")
        self.at += 3 if self.text.startswith("(?:", self.at) else 1
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self._wrong(f"is nested more than {_MAX_DEPTH} deep")
        node = self._either()
        if not self._eat(")"):
            raise self._wrong("has a '(' without its ')'")
        self.depth -= 1
        return node

    def _one(self, expression: str) -> re.Pattern[str]:
        """A test for one character: `re` cannot backtrack on that."""
        try:
            return re.compile(expression, self.flags)
        except (re.error, OverflowError) as error:
            raise self._wrong(f"has a wrong part {expression!r}: {error}") from error

    def _eat(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def _wrong(self, what: str) -> InvalidInput:
        return InvalidInput(f"the pattern {self.text!r} {what}")


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> Pattern:
    """The compiled pattern for `text`. Raises InvalidInput with the reason if the pattern is invalid."""
    return Pattern(text)
