"""The exchanges and bindings of the broker inside the process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broker_mesos.bus.topology import Topology


class RoutingTable:
    """The queues, by name, that a message with an exchange and a routing key goes to."""

    def __init__(self) -> None:
        self._direct: dict[str, dict[str, list[str]]] = {}
        self._topic: dict[str, list[tuple[list[str], str]]] = {}
        self._topic_names: set[str] = set()

    def declare(self, topology: Topology) -> None:
        """Declare a cluster's exchanges. An exchange that exists keeps its bindings."""
        for name, kind in topology.exchanges().items():
            if kind == "topic":
                self._topic_names.add(name)
                self._topic.setdefault(name, [])
            else:
                self._direct.setdefault(name, {})

    def delete(self, exchange: str) -> None:
        """Delete an exchange with its bindings. No error if it does not exist."""
        self._direct.pop(exchange, None)
        self._topic.pop(exchange, None)

    def clear(self) -> None:
        """Delete all exchanges."""
        self._direct.clear()
        self._topic.clear()

    def has(self, exchange: str) -> bool:
        """Whether an exchange exists."""
        return exchange in self._direct or exchange in self._topic

    def bind(self, queue: str, bindings: Iterable[tuple[str, str]]) -> None:
        """Bind a queue to each (exchange, routing key), and create missing exchanges."""
        for exchange, key in bindings:
            if exchange in self._topic_names:
                binding = (key.split("."), queue)
                found = self._topic.setdefault(exchange, [])
                if binding not in found:
                    found.append(binding)
            elif queue not in (names := self._direct.setdefault(exchange, {}).setdefault(key, [])):
                names.append(queue)

    def unbind(self, queue: str, bindings: Iterable[tuple[str, str]]) -> None:
        """Delete bindings. No error for one that does not exist."""
        for exchange, key in bindings:
            if exchange in self._topic:
                self._topic[exchange] = [each for each in self._topic[exchange] if each != (key.split("."), queue)]
            elif queue in (names := self._direct.get(exchange, {}).get(key, [])):
                names.remove(queue)
                if not names:
                    del self._direct[exchange][key]

    def queues(self, exchange: str, key: str) -> Sequence[str]:
        """The queues for one message, each once."""
        if exchange in self._topic:
            words = key.split(".")
            return list(dict.fromkeys(name for pattern, name in self._topic[exchange] if _matches(pattern, words)))
        return tuple(self._direct.get(exchange, {}).get(key, ()))


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _matches(pattern[1:], words[1:])
