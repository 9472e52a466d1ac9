"""No module imports itself in a circle, imports for type checkers and inside functions counted."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "broker_mesos"


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports() -> dict[str, set[str]]:
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                # `from package import module` or `from module import name`
                inner = {f"{node.module}.{each.name}" for each in node.names}
                names.update((inner & paths.keys()) or {node.module})
        found[module] = (names & paths.keys()) - {module}
    del found["broker_mesos"]  # it names what authors import, lazily
    return found


def in_circles(imports: dict[str, set[str]]) -> set[str]:
    """Modules that reach themselves."""
    circular = set()
    for module in imports:
        seen, waiting = set(), list(imports[module])
        while waiting:
            each = waiting.pop()
            if each not in seen:
                seen.add(each)
                waiting.extend(imports.get(each, ()))
        if module in seen:
            circular.add(module)
    return circular


def test_a_circle_is_found():
    assert in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {"b", "c"}


def test_no_module_is_in_a_circle_of_imports():
    assert sorted(in_circles(read_imports())) == []
