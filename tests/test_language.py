"""Names in the code are words of the glossary, not the ones that it has retired."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "broker_mesos"

RETIRED = {
    "anew",
    "believe",
    "believed",
    "believes",
    "complaint",
    "condemned",
    "crowded",
    "deaf",
    "dear",
    "dearness",
    "division",
    "doomed",
    "errand",
    "errands",
    "gathering",
    "hear",
    "hears",
    "heed",
    "heeded",
    "heeds",
    "heir",
    "hindrance",
    "judge",
    "judges",
    "memo",
    "memos",
    "news",
    "pace",
    "reckon",
    "reckoned",
    "reckons",
    "sat",
    "say",
    "says",
    "speak",
    "speaks",
    "standing",
    "suspects",
    "teller",
    "tellers",
    "telling",
    "tells",
    "told",
    "unread",
    "upkeep",
    "wordy",
}
"""Words that no name of a module, class, function, argument, variable or constant contains; see docs/glossary.md."""

BARE = re.compile(r"^_?(KEPT|PATIENCE|MARGIN|BEHIND|FULL|MOST_\w+)$")
"""Constants that name neither their subject nor their unit."""

ALLOWED = {
    "DIVISION",  # a name in the store, which other releases read
    "memo",  # the parameter of __deepcopy__
    "_standing_by",  # a standby stands by
    "standing_by",
}
"""Names where a retired word is the right one, or is still to be replaced."""


def names_in(path: Path) -> Iterator[str]:
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif (
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and (node.id.isupper() or node.id[0] != "_")
        ):
            yield node.id


def words_of(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


FILES = sorted(PACKAGE.rglob("*.py"))


def test_words_are_found_in_names_of_each_style():
    assert words_of("GangMemo_TTL") == {"gang", "memo", "ttl"}
    assert words_of("_on_heedingMemo") == {"on", "heeding", "memo"}


def test_no_name_contains_a_retired_word():
    found = {
        (str(each.relative_to(PACKAGE)), name)
        for each in FILES
        for name in names_in(each)
        if words_of(name) & RETIRED and name not in ALLOWED
    }
    assert sorted(found) == []


def test_constants_name_their_subject():
    found = [
        (str(each.relative_to(PACKAGE)), name)
        for each in FILES
        for name in names_in(each)
        if BARE.match(name) and name not in ALLOWED
    ]
    assert found == []


RETIRED_IN_CORE = {
    "ask",
    "asked",
    "asks",
    "gathers",
    "heard",
    "holding",
    "holds",
    "judge",
    "news",
    "said",
    "sits",
    "told",
    "wish",
    "wishes",
}
"""Words that no name of the core contains, be it of an argument or of a variable; others may still use them."""


def every_name_in(path: Path) -> Iterator[str]:
    yield from names_in(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_no_name_of_the_core_contains_a_word_that_is_retired_there():
    found = {
        (str(each.relative_to(PACKAGE)), name)
        for each in sorted((PACKAGE / "core").rglob("*.py"))
        for name in every_name_in(each)
        if words_of(name) & RETIRED_IN_CORE
    }
    assert sorted(found) == []
