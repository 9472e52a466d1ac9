"""Decodes message bodies of any registered type.

Importing this module registers all messages of agents, cells and frameworks; importing a module of ``core/api``
registers the operator requests that it defines.
"""

from __future__ import annotations

from pydantic import ValidationError

from broker_mesos.core.protocol import agent_messages, cell_messages, events, feed_messages, framework_messages
from broker_mesos.core.protocol.wire import MAX_BODY, REGISTRY, Message, first_problem
from broker_mesos.errors import InvalidMessage, UnknownMessage

MESSAGE_MODULES = (agent_messages, cell_messages, events, feed_messages, framework_messages)


def decode(type_name: str, body: bytes) -> Message:
    """Decode the body of a message.

    Raises UnknownMessage for an unknown type, and InvalidMessage for a body that is too large or does not match its
    type. The text of the error is one line.
    """
    cls = REGISTRY.get(type_name)
    if cls is None:
        raise UnknownMessage(f"unknown message type {type_name[:64]!r}")
    if len(body) > MAX_BODY:
        raise InvalidMessage(f"{type_name}: a body of {len(body)} bytes; at most {MAX_BODY} are allowed")
    try:
        return cls.model_validate_json(body)
    except ValidationError as error:
        raise InvalidMessage(f"{type_name}: {first_problem(error)}") from None
