"""Mistakes planted on purpose, to see that the simulation bites. Each patches the product while in use."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

Mutant = Callable[[Callable[[object, str, Any], None]], None]
_MODULES = ("mutants", "framework_mutants")
_mutants: dict[str, Mutant] = {}
_INHERITED = object()


def mutant(make: Mutant) -> Mutant:
    """Have a mistake planted by the name of the function that makes it."""
    _mutants[make.__name__.replace("_", "-")] = make
    return make


def mutants() -> dict[str, Mutant]:
    """The mistakes, by name."""
    for name in _MODULES:
        importlib.import_module(f"tests.simulation.{name}")
    return _mutants


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """The mistake is in the product."""
    undo: list[tuple[object, str, Any]] = []

    def patch(owner: object, attribute: str, value: Any) -> None:
        # What stands there: ``getattr`` would bind a class method to its class, and subclasses would lose it.
        undo.append((owner, attribute, vars(owner).get(attribute, _INHERITED)))
        setattr(owner, attribute, value)

    mutants()[name](patch)
    try:
        yield
    finally:
        for owner, attribute, value in reversed(undo):
            if value is _INHERITED:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, value)
