"""Reports how many examples were tried."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuzz import effort


@pytest.fixture(scope="session", autouse=True)
def report() -> Iterator[None]:
    yield
    if effort.HUNTING:
        print(f"\nfuzzing tried {effort.tried} examples")
