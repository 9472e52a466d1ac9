"""What fuzzing has found: each as a test of its own, with the rest of its kind."""

from __future__ import annotations

import json

import pytest

from broker_mesos.core.protocol.registry import decode
from broker_mesos.errors import InvalidMessage


@pytest.mark.parametrize("type_name", ["SUBSCRIBE", "FRAMEWORK_HEARTBEAT", "FRAMEWORK_ABSENT"])
def test_a_call_that_describes_another_framework_is_refused(type_name: str) -> None:
    body = {"framework_id": "f3", "framework": {"framework_id": "f1"}}
    with pytest.raises(InvalidMessage, match="not that of the call"):
        decode(type_name, json.dumps(body).encode())
