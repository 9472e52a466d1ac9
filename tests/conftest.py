"""Fixtures for every test: private servers, started when a test first asks, and names that keep tests apart.

One RabbitMQ and one Redis serve the whole run. A test keeps to itself by working in its own cluster:
`cluster_name`. A test that stops, kills or pauses a server asks for `private_rabbitmq` or `private_redis`.
All of these mark the test `servers`; a parametrized suite that fetches them with `request.getfixturevalue`
marks the parameter itself (`pytest.param("real", marks=pytest.mark.servers)`).
A missing server is an error, never a skip.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator

import hypothesis
import pytest
import structlog

from tests.examples import examples
from tests.servers import RabbitMQServer, RedisServer

_SERVER_FIXTURES = {"rabbitmq_server", "redis_server", "private_rabbitmq", "private_redis", "tls_servers"}

# A run says whether a change is sound, and so the same change must get the same answer. New examples are
# looked for on purpose: BMESOS_HUNT=1 make check.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=examples(100))
if not os.environ.get("BMESOS_HUNT"):
    hypothesis.settings.load_profile("repeatable")

# Daemons format tracebacks plainly, too; drawing one with all its variables takes seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=False),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_configure() -> None:
    """Whoever starts the tests in the background ignores these signals, and daemons would inherit that."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)
        # On a busy machine a RabbitMQ takes half a minute to start, and so does each command of rabbitmqctl.
        long = item.get_closest_marker("servers") or item.get_closest_marker("slow")
        if long and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))
    # One worker runs a file: those that take long begin first, and none is left alone with one at the end.
    long_tests = Counter(
        item.path for item in items if item.get_closest_marker("servers") or item.get_closest_marker("slow")
    )
    items.sort(key=lambda item: -long_tests[item.path])


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQServer]:
    """The run's RabbitMQ. Shared: do not stop, kill or pause it."""
    with RabbitMQServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The run's Redis. Shared: do not stop, kill, pause or flush it."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq_server: RabbitMQServer) -> str:
    return rabbitmq_server.url


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture
def private_rabbitmq() -> Iterator[RabbitMQServer]:
    """A RabbitMQ for this test alone, to be killed, paused and restarted (about 5 s to start)."""
    with RabbitMQServer() as server:
        yield server


@pytest.fixture
def private_redis() -> Iterator[RedisServer]:
    """A Redis for this test alone, to be killed, paused and restarted."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def cluster_name() -> str:
    """A cluster of this test's own: what keeps it apart from other tests on the same servers."""
    return f"t{uuid.uuid4().hex[:10]}"
