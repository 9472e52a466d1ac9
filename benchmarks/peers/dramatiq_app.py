"""Dramatiq's side: the actor, which its workers load, and the client."""

from __future__ import annotations

import os
import subprocess

import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from loop import TRUE, serve

broker = RabbitmqBroker(url=os.environ["BENCH_BROKER"])
# Its reads block for longer than the 5 s after which newer clients of Redis give up by default.
store = redis.Redis.from_url(os.environ["BENCH_STORE"], socket_timeout=None)
broker.add_middleware(Results(backend=RedisBackend(client=store)))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench-dramatiq", store_results=True)
def run(command: list[str]) -> int:
    """One task."""
    return subprocess.run(command, check=False).returncode


def many(count: int) -> None:
    """All at once, then every result."""
    group = dramatiq.group(run.message([TRUE]) for _ in range(count)).run()
    assert list(group.get_results(block=True, timeout=300_000)) == [0] * count


def single() -> None:
    """One, and its result."""
    assert run.send([TRUE]).get_result(block=True, timeout=60_000) == 0


if __name__ == "__main__":
    serve(many, single)
