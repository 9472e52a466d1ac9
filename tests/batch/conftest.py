"""What all tests of the batch framework share."""

from __future__ import annotations

import pytest

from broker_mesos.sdk import calls


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledgements wait less long for company: some tests wait for them."""
    monkeypatch.setattr(calls, "ACKNOWLEDGE_AFTER_SECONDS", 1.0)
