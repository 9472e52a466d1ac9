"""RabbitMQ and Redis with TLS: who is trusted, and what a refusal says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from broker_mesos.bus.rabbitmq import RabbitBus
from broker_mesos.errors import InvalidInput, Unavailable
from broker_mesos.operator.doctor import check_bus, check_store
from broker_mesos.runtime.clock import SystemClock
from broker_mesos.runtime.tls import TlsFiles
from broker_mesos.runtime.tls import certificates as certificates_of
from broker_mesos.store.redis.store import RedisStore
from tests.security.certificates import Certificates
from tests.security.conftest import TlsServers
from tests.tls_servers import TlsRabbitMQServer, TlsRedisServer

HOPELESS = 600.0
"""A time limit that a test would not survive: what is final must not be repeated until it is over."""

Make = Callable[..., Any]
Server = TlsRabbitMQServer | TlsRedisServer


@pytest.fixture(params=["amqps", "rediss"])
def server(request: pytest.FixtureRequest, tls_servers: TlsServers) -> Server:
    return tls_servers.rabbitmq if request.param == "amqps" else tls_servers.redis


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes the adapter for a URL; it is closed after the test."""
    made: list[Any] = []

    def build(url: str, files: TlsFiles, timeout: float = 3.0) -> Any:
        if url.startswith("amqp"):
            made.append(RabbitBus(url, clock=SystemClock(), rng=random.Random(1), tls=files))
        else:
            made.append(RedisStore(url, cluster="c", clock=SystemClock(), timeout=timeout, tls=files))
        return made[-1]

    yield build
    for each in made:
        await each.close()


def trusting(certificates: Certificates, name: str = "ca", client: str = "") -> TlsFiles:
    path = certificates.path
    own = [str(path(f"{client}.crt")), str(path(f"{client}.key"))] if client else []
    return TlsFiles(str(path(f"{name}.crt")), *own)


async def refusal(adapter: Any, limit: float = HOPELESS) -> str:
    with pytest.raises(Unavailable) as caught:
        await adapter.open(limit)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    return str(caught.value)


def day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


async def test_a_server_whose_certificate_the_ca_signed_is_used(
    server: Server, certificates: Certificates, make: Make
) -> None:
    adapter = make(server.tls_url, trusting(certificates))
    await adapter.open(30)
    ends = {each.name: each.ends for each in (await adapter.health()).certificates}
    name = "RabbitMQ" if isinstance(server, TlsRabbitMQServer) else "Redis"
    assert set(ends) == {
        f"{certificates.path('ca.crt')} (tls_ca)",
        f"the certificate of {name} at localhost:{server.tls_port}",
    }
    assert max(ends.values()) == certificates.folder.read("ca").ends
    assert min(ends.values()) == certificates.folder.read("localhost").ends


async def test_another_ca_is_refused_at_once_and_named(server: Server, certificates: Certificates, make: Make) -> None:
    said = await refusal(make(server.tls_url, trusting(certificates, "other/ca")))
    assert f"localhost:{server.tls_port}" in said
    assert "is not trusted" in said and str(certificates.path("other/ca.crt")) in said and "tls_ca" in said


async def test_without_a_ca_those_of_the_machine_are_asked_and_the_setting_is_named(server: Server, make: Make) -> None:
    said = await refusal(make(server.tls_url, TlsFiles()))
    assert "the authorities that this machine trusts" in said and "BMESOS_TLS_CA" in said


async def test_the_authorities_of_the_machine_are_not_trusted_beside_the_ca_that_is_named(
    server: Server, certificates: Certificates, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.path("ca.crt")))
    await make(server.tls_url, TlsFiles()).open(30)
    assert "is not trusted" in await refusal(make(server.tls_url, trusting(certificates, "other/ca")))


async def test_a_certificate_of_another_name_is_refused_with_both_names(
    server: Server, certificates: Certificates, make: Make
) -> None:
    said = await refusal(make(server.tls_url.replace("localhost", "127.0.0.1"), trusting(certificates)))
    assert "its certificate is for localhost, not for 127.0.0.1" in said and str(certificates.path("ca.crt")) in said


@pytest.mark.parametrize(
    ("name", "words"),
    [("expired", "its certificate expired on {}"), ("early", "its certificate is not valid before {}")],
)
async def test_a_certificate_out_of_its_time_is_refused_with_the_date(
    name: str,
    words: str,
    server: Server,
    tls_servers: TlsServers,
    certificates: Certificates,
    make: Make,
) -> None:
    tls_servers.use(name)
    found = certificates.folder.read(name).certificate
    date = found.not_valid_after_utc if name == "expired" else found.not_valid_before_utc
    said = await refusal(make(server.tls_url, trusting(certificates)))
    assert words.format(day(date.timestamp())) in said
    assert "checked for localhost" in said and str(certificates.path("ca.crt")) in said


async def test_a_ca_that_has_ended_is_named_with_its_date(
    server: Server, certificates: Certificates, make: Make
) -> None:
    said = await refusal(make(server.tls_url, trusting(certificates, "old-ca")))
    ended = day(certificates.folder.read("old-ca").ends)
    assert f"the CA in {certificates.path('old-ca.crt')} expired on {ended}" in said


async def test_a_port_without_tls_is_named(server: Server, certificates: Certificates, make: Make) -> None:
    url = server.tls_url.replace(str(server.tls_port), str(server.port))
    said = await refusal(make(url, trusting(certificates), timeout=0.3), limit=0.5)
    assert "TLS" in said and f"localhost:{server.port}" in said


@pytest.mark.parametrize(
    "option", ["ssl_cert_reqs=none", "cert_reqs=0", "ssl_check_hostname=false", "ssl_options={'cafile':'x'}", "SSL_X=1"]
)
async def test_an_option_of_a_url_that_changes_the_checks_is_refused(
    option: str, server: Server, certificates: Certificates, make: Make
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make(f"{server.tls_url}?{option}", trusting(certificates))
    said = str(caught.value)
    assert option.partition("=")[0].lower() in said and "tls_ca" in said and "\n" not in said


async def test_a_certificate_that_ends_soon_is_a_finding_of_the_doctor(
    server: Server, tls_servers: TlsServers, certificates: Certificates, make: Make
) -> None:
    tls_servers.use("soon")
    adapter = make(server.tls_url, trusting(certificates))
    await adapter.open(30)
    report = await adapter.health()
    check: Any = check_bus if isinstance(server, TlsRabbitMQServer) else check_store
    (finding,) = [each for each in check(report, "server") if "expires on" in each.found]
    ends = certificates.folder.read("soon").ends
    assert finding.level == "warning" and day(ends) in finding.found and "in 5 days" in finding.found
    assert str(server.tls_port) in finding.found and "renew" in finding.advice
    ended = [each.model_copy(update={"left": -1.0}) for each in report.certificates]
    levels = {
        each.level for each in check(report.model_copy(update={"certificates": ended}), "s") if "expired" in each.found
    }
    assert levels == {"error"}


async def test_who_runs_goes_on_trying_until_the_certificate_is_good_again(
    tls_servers: TlsServers, certificates: Certificates, make: Make
) -> None:
    bus = make(tls_servers.rabbitmq.tls_url, trusting(certificates))
    store = make(tls_servers.redis.tls_url, trusting(certificates))
    await bus.open(30)
    await store.open(30)
    tls_servers.use("expired")
    await asyncio.to_thread(tls_servers.rabbitmq.ctl, "close_all_connections", "test")
    tls_servers.redis.ask("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(Unavailable, match="its certificate expired on"):
        await store.tries(0)
    async with asyncio.timeout(90):
        while "expired on" not in str(bus._consuming.error):
            await bus._consuming.changed.wait()
    assert not bus.connected
    tls_servers.use("localhost")
    async with asyncio.timeout(90):
        await bus.wait_connected()
    assert await store.tries(0) == {}


@pytest.mark.servers
async def test_servers_that_want_a_certificate_of_their_clients(certificates: Certificates, make: Make) -> None:
    """RabbitMQ and Redis both do it their own way, and with TLS 1.3 only after the handshake."""
    files = certificates.files()
    with (
        TlsRabbitMQServer(files, client_certificates=True) as rabbitmq,
        TlsRedisServer(files, client_certificates=True) as redis,
    ):
        for server in (rabbitmq, redis):
            own = trusting(certificates, client="client")
            adapter = make(server.tls_url, own)
            await adapter.open(30)
            names = {each.name for each in (await adapter.health()).certificates}
            assert f"{own.cert} (tls_cert)" in names
            said = await refusal(make(server.tls_url, trusting(certificates)))
            assert "set tls_cert and tls_key" in said
            said = await refusal(
                make(
                    server.tls_url,
                    own._replace(
                        cert=str(certificates.path("other/ca.crt")), key=str(certificates.path("other/ca.key"))
                    ),
                )
            )
            assert "it refuses the certificate in" in said and "other/ca.crt (tls_cert)" in said


def test_a_server_that_is_away_leaves_its_certificate_out(certificates: Certificates) -> None:
    files = trusting(certificates)
    assert [each.name for each in certificates_of(files, "localhost", 1, "x")] == [f"{files.ca} (tls_ca)"]
