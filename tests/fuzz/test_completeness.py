"""A new message type or parser cannot be forgotten here."""

from __future__ import annotations

import ast
from pathlib import Path

import broker_mesos
from broker_mesos.core.api.catalog import REQUESTS
from broker_mesos.core.protocol import envelope
from broker_mesos.core.protocol.wire import REGISTRY
from tests.fuzz import test_agent, test_cell, test_decoding, test_operator, test_sdk

DECODED_ONLY = {"ANSWER": "it is decoded by the class of the answer to its request, in tests/fuzz/test_operator.py"}
"""Types that nobody but a requester receives, with the reason."""


def registered() -> set[str]:
    """The types of all classes of the package that are registered as messages, whether they are imported or not."""
    found = set()
    for path in Path(broker_mesos.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(each) == "register" for each in node.decorator_list):
                found |= {
                    # Constants are in a module of their own.
                    getattr(envelope, each.value.id)
                    if isinstance(each.value, ast.Name)
                    else ast.literal_eval(each.value)
                    for each in node.body
                    if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "TYPE"
                }
    return found


def test_every_message_type_is_decoded() -> None:
    assert set(test_decoding.TYPES) == set(REGISTRY) == registered()


def test_every_message_type_is_handed_to_who_receives_it() -> None:
    given = {*test_cell.TYPES, *test_agent.TYPES, *test_sdk.TYPES, *test_operator.REQUESTS, *test_operator.FEED_TYPES}
    assert set(REGISTRY) - given - set(DECODED_ONLY) == set()
    assert set(test_operator.REQUESTS) == set(REQUESTS)
