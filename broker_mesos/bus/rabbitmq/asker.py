"""One question after the other, without an event loop: for a command that asks twice and ends.

The answers come by direct reply-to, which needs no queue of its own, over one connection. Whatever goes wrong
is an exception of any kind: who uses this tries once, and otherwise takes the bus.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import pika

from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import SCHEMA_VERSION, operator_framework

# What goes wrong is told by whoever tries it again.
logging.getLogger("pika").setLevel(logging.CRITICAL)

_REPLIES = "amq.rabbitmq.reply-to"


class Asker:
    """Asks the batch framework."""

    def __init__(self, url: str, cluster: str, name: str, timeout: float) -> None:
        parameters = pika.URLParameters(url)
        parameters.connection_attempts = 1
        parameters.socket_timeout = parameters.stack_timeout = timeout
        parameters.blocked_connection_timeout = timeout
        parameters.client_properties = {"connection_name": name, "product": "broker_mesos"}
        self._exchange, self._key = Topology(cluster).route(operator_framework("batch"))
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._answers: dict[str, bytes] = {}
        self._returned = False
        self._channel.add_on_return_callback(self._on_return)
        self._channel.basic_consume(_REPLIES, self._on_answer, auto_ack=True)

    def ask(self, kind: str, request: Mapping[str, Any], timeout: float, held: float) -> dict[str, Any]:
        """The data of the answer. Raises an exception, of any kind, if there is none."""
        correlation = os.urandom(8).hex()
        limit = timeout + held
        properties = pika.BasicProperties(
            content_type="application/json",
            headers={"bmesos-schema": SCHEMA_VERSION},
            delivery_mode=1,
            type=kind,
            message_id=correlation,
            correlation_id=correlation,
            reply_to=_REPLIES,
            expiration=str(round(limit * 1000)),
        )
        body = json.dumps(request).encode()
        self._channel.basic_publish(self._exchange, self._key, body, properties, mandatory=True)
        deadline = time.monotonic() + limit
        while correlation not in self._answers:
            left = deadline - time.monotonic()
            if self._returned or left <= 0:
                raise TimeoutError
            self._connection.process_data_events(left)
        answer = json.loads(self._answers.pop(correlation))
        if answer.get("error"):
            raise ValueError(answer["error"])
        data: dict[str, Any] = answer["data"]
        return data

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _on_return(self, *_: object) -> None:
        self._returned = True

    def _on_answer(self, channel: object, method: object, properties: Any, body: bytes) -> None:
        self._answers[properties.correlation_id] = body
