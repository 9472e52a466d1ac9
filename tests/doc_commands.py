"""The command lines that the docs show: those in blocks of code, and those named in sentences."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if page.stem != "benchmarks")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(bmesos [^`]+)`")
_ASSIGNMENT = re.compile(r"([A-Z]+)=\$\((bmesos .*)\)")


class Shown(NamedTuple):
    """One command line of a page."""

    line: str
    """As it stands, without the comment after it."""
    variable: str
    """The shell variable that gets its output, or nothing."""
    comment: str


def blocks(text: str, *languages: str) -> list[str]:
    """The blocks of code in one of these languages; "" is a block that names none."""
    return [body for language, body in _BLOCK.findall(text) if language in languages]


def commands(text: str) -> list[Shown]:
    """The command lines of ``bmesos`` in the shell blocks of a page, in their order."""
    found = []
    for body in blocks(text, "sh", ""):
        for line in body.replace("\\\n", " ").splitlines():
            plain, _, comment = re.sub(r"\s+#\s", "\0", line, count=1).partition("\0")
            plain = plain.strip().removesuffix("&").strip()
            assigned = _ASSIGNMENT.fullmatch(plain)
            if assigned is not None:
                found.append(Shown(assigned[2], assigned[1], comment))
            elif plain.startswith("bmesos "):
                found.append(Shown(plain, "", comment))
    return found


def named(text: str) -> list[str]:
    """The command lines that sentences and tables name."""
    outside = _BLOCK.sub("", text)
    return [" ".join(each.split()) for each in _INLINE.findall(outside)]


def words_of(line: str) -> list[str]:
    """The words after ``bmesos``. Brackets around what may be left out and dots for more of the same are dropped, and
    a number stands where the page has N."""
    words = shlex.split(line)[1:]
    end = words.index("--") if "--" in words else len(words)
    plain = [each if " " in each else each.strip("[]").rstrip("…") for each in words[:end]]
    return ["5" if each == "N" else each for each in plain if each] + words[end:]
