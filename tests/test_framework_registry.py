"""The built-in frameworks, which only their registry names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

import broker_mesos
from broker_mesos.core.api.catalog import REQUESTS, USER_REQUESTS
from broker_mesos.core.api.jobs import GetJobs
from broker_mesos.core.api.request import Route
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.registry import FRAMEWORKS, JOBS, framework_for, framework_named

PACKAGE = Path(broker_mesos.__file__).parent
ELSEWHERE = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.is_relative_to(PACKAGE / "frameworks")
    # The examples in the help of its commands are text for people.
    and path != PACKAGE / "cli" / "commands.py"
]


def test_every_request_to_a_framework_has_one_that_answers_it() -> None:
    requests = {name for name, kind in REQUESTS.items() if kind.ROUTE is Route.FRAMEWORK}
    assert requests == {name for framework in FRAMEWORKS.values() for name in framework.requests}
    assert framework_for(GetJobs.TYPE) is JOBS and framework_for("HELLO") is None


def test_a_client_may_pass_on_what_a_framework_answers() -> None:
    assert [name for framework in FRAMEWORKS.values() for name in framework.requests - USER_REQUESTS.keys()] == []


def test_what_the_registry_names_is_there() -> None:
    for name, framework in FRAMEWORKS.items():
        assert framework.name == name == framework.space
        assert callable(resolve_name(framework.builder))


def test_unknown_framework_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="there is: batch"):
        framework_named("cron")
    assert framework_named("batch") is JOBS


def named(tree: ast.AST) -> Iterator[int]:
    """Lines with a text that is a framework's name, or the command that starts it."""
    modules = [f"broker_mesos.frameworks.{name}" for name in FRAMEWORKS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts = [f"framework {name}" for name in FRAMEWORKS]
            if node.value in FRAMEWORKS or any(text in node.value for text in texts):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(tuple(modules)):
            yield node.lineno


def test_nobody_else_names_a_built_in_framework() -> None:
    found = [f"{path.relative_to(PACKAGE)}:{line}" for path in ELSEWHERE for line in named(ast.parse(path.read_text()))]
    assert found == []
