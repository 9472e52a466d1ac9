"""Imports go one way: no module of the package imports, through others, itself. What only type checkers import
counts as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "broker_mesos"

KNOWN: tuple[frozenset[str], ...] = (
    frozenset({"broker_mesos.client.client", "broker_mesos.client.job"}),
    frozenset({"broker_mesos.sdk.driver", "broker_mesos.sdk.inbound", "broker_mesos.sdk.scheduler"}),
)
"""Circles that are still to be broken. None may be added."""


def modules() -> dict[str, Path]:
    """Files by the names of their modules."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports when it is loaded. What a function imports when it is
    called is no dependency of the module."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            submodules = [f"{node.module}.{each.name}" for each in node.names]
            yield from (each for each in submodules if each in known)
            if not all(each in known for each in submodules):
                yield node.module
        pending.extend(ast.iter_child_nodes(node))


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules that all import one another, directly or through others."""
    reached = {name: set(targets) for name, targets in graph.items()}
    changed = True
    while changed:
        changed = False
        for targets in reached.values():
            more = set().union(*(reached.get(each, set()) for each in targets)) - targets
            changed = changed or bool(more)
            targets |= more
    return {
        frozenset(other for other in targets if name in reached.get(other, ()))
        for name, targets in reached.items()
        if name in targets
    }


def test_a_circle_is_found_through_others() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert circles(graph) == {frozenset("abc")}


def test_no_module_imports_itself_through_others() -> None:
    known = modules()
    # The package itself names what authors import, lazily; whoever asks it for the version imports none of that.
    graph = {name: set(imports(path, known)) for name, path in known.items() if name != "broker_mesos"}
    found = circles(graph)
    assert found <= set(KNOWN), "\n".join(" <-> ".join(sorted(each)) for each in found - set(KNOWN))
