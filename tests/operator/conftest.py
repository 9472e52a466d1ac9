"""Daemons that answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.operator.daemons import Daemons


@pytest.fixture
async def daemons() -> AsyncIterator[Daemons]:
    made = Daemons()
    await made.start()
    yield made
    await made.close()
