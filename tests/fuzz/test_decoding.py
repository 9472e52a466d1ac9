"""Every message type is decoded or refused, whatever its body is; what was decoded can be sent on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_mesos.core.api import catalog
from broker_mesos.core.protocol.registry import decode
from broker_mesos.core.protocol.wire import MAX_BODY, REGISTRY
from broker_mesos.errors import InvalidMessage
from broker_mesos.operator import job_changes
from tests.fuzz.effort import check_line, count, fuzz
from tests.fuzz.values import bodies, encoded, json_values, spoiled

TYPES = sorted(REGISTRY)
assert catalog.REQUESTS and job_changes.__name__, "importing them registers their types"


def check(type_name: str, body: bytes) -> None:
    """It is refused in one line, or decoded to a value that can be encoded, and decoded again."""
    count()
    try:
        message = decode(type_name, body)
    except InvalidMessage as error:
        check_line(error)
        return
    again = message.encode()
    if len(again) <= MAX_BODY:
        # Not compared with the message: the data of an ANSWER, which has no model yet, may contain NaN.
        assert decode(type_name, again).encode() == again


@pytest.mark.parametrize("type_name", TYPES)
def test_a_message_with_faults_is_decoded_or_refused(type_name: str) -> None:
    @fuzz(6)
    @given(bodies(REGISTRY[type_name]).map(encoded))
    def run(body: bytes) -> None:
        check(type_name, body)

    run()


@fuzz(150)
@given(st.sampled_from(TYPES), st.binary(max_size=200) | json_values.map(encoded))
def test_bytes_and_json_of_any_shape_are_decoded_or_refused(type_name: str, body: bytes) -> None:
    check(type_name, body)


@fuzz(100)
@given(st.data())
def test_a_spoiled_message_is_decoded_or_refused(data: st.DataObject) -> None:
    type_name = data.draw(st.sampled_from(TYPES))
    check(type_name, data.draw(spoiled(encoded(data.draw(bodies(REGISTRY[type_name], 0))))))


@pytest.mark.parametrize("type_name", ["", "NOPE", "x" * 10_000, "\x00", "ANSWER\n"])
def test_a_type_that_nobody_knows_is_refused(type_name: str) -> None:
    with pytest.raises(InvalidMessage):
        decode(type_name, b"{}")
