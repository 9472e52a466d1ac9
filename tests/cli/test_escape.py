"""The escape that leaves an interactive session."""

from __future__ import annotations

import pytest

from broker_mesos.cli.escape import Escape


@pytest.mark.parametrize(
    ("typed", "passed", "left"),
    [
        ("ls\r", "ls\r", False),
        ("~.", "", True),
        ("ls\r~.rm", "ls\r", True),
        ("ls\n~.", "ls\n", True),
        ("a~.b", "a~.b", False),
        ("~~.\r", "~.\r", False),
        ("~x", "~x", False),
        ("\r~\r~.", "\r~\r", True),
    ],
)
def test_the_escape_is_found_after_enter_however_it_arrives(typed: str, passed: str, left: bool) -> None:
    assert Escape().filter(typed.encode()) == (passed.encode(), left)
    escape, found = Escape(), b""
    for letter in typed.encode():
        part, gone = escape.filter(bytes([letter]))
        found += part
        if gone:
            break
    assert (found, gone) == (passed.encode(), left)
