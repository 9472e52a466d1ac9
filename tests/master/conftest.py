"""Masters on both kinds of servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.master.places import KINDS, Place


@pytest.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, cluster_name: str) -> AsyncIterator[Place]:
    made = Place(request, cluster_name)
    yield made
    await made.close()
