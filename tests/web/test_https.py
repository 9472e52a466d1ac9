"""HTTPS of the operator API, and the addresses that are served."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker_mesos.client.jobs import JobClient
from broker_mesos.errors import InvalidInput, Unavailable
from broker_mesos.runtime.tls import ServerFiles
from broker_mesos.web import WebServer
from broker_mesos.web.address import checked_host
from tests.operator.fakes import FakeCluster
from tests.security.certificates import Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def files(certificates: Certificates, tmp_path: Path) -> ServerFiles:
    shutil.copy(certificates.path("localhost.crt"), tmp_path / "web.crt")
    shutil.copy(certificates.path("localhost.key"), tmp_path / "web.key")
    return ServerFiles(str(tmp_path / "web.crt"), str(tmp_path / "web.key"))


@pytest.fixture
async def server(files: ServerFiles) -> AsyncIterator[WebServer]:
    server = WebServer(FakeCluster(), port=0, files=files)
    running = asyncio.create_task(server.run())
    await server.ready.wait()
    yield server
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def ask(url: str, ca: Path | None) -> object:
    with JobClient(url, timeout=5, tls_ca=ca) as client:
        return client.call("GET_JOBS", {})["total"]


async def test_a_client_that_trusts_the_ca_is_answered(server: WebServer, certificates: Certificates) -> None:
    assert server.url == f"https://127.0.0.1:{server.port}"
    url = f"https://localhost:{server.port}"
    assert await asyncio.to_thread(ask, url, certificates.path("ca.crt")) == 0


@pytest.mark.parametrize(
    ("host", "ca", "words"),
    [
        ("localhost", "other/ca.crt", "its certificate is not trusted"),
        ("localhost", None, "BMESOS_TLS_CA"),
        ("localhost", "old-ca.crt", "expired on"),
        ("127.0.0.1", "ca.crt", "its certificate is for localhost, not for 127.0.0.1"),
    ],
)
async def test_a_client_that_cannot_trust_it_says_why_in_one_line(
    host: str, ca: str | None, words: str, server: WebServer, certificates: Certificates
) -> None:
    with pytest.raises(Unavailable) as caught:
        await asyncio.to_thread(ask, f"https://{host}:{server.port}", None if ca is None else certificates.path(ca))
    said = str(caught.value)
    assert said.startswith(f"{host}:{server.port}: ") and words in said and "\n" not in said


async def test_https_and_http_are_not_mistaken_for_each_other(server: WebServer, certificates: Certificates) -> None:
    with pytest.raises(Unavailable):
        await asyncio.to_thread(ask, f"http://localhost:{server.port}", None)
    plain = WebServer(FakeCluster(), port=0)
    running = asyncio.create_task(plain.run())
    await plain.ready.wait()
    with pytest.raises(Unavailable, match="does not use TLS at this port"):
        await asyncio.to_thread(ask, f"https://localhost:{plain.port}", certificates.path("ca.crt"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_connection_without_a_handshake_is_ended(files: ServerFiles) -> None:
    server = WebServer(FakeCluster(), port=0, files=files, head_timeout=0.2)
    running = asyncio.create_task(server.run())
    await server.ready.wait()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(90):
        assert await reader.read() == b""
    writer.close()
    # Nor does one end whose handshake fails take the server with it.
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(90):
        await reader.read()
    writer.close()
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_connections_without_a_handshake_are_bounded_in_number(
    files: ServerFiles, certificates: Certificates
) -> None:
    server = WebServer(FakeCluster(), port=0, files=files, limit=2, head_timeout=600)
    running = asyncio.create_task(server.run())
    await server.ready.wait()
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
    async with asyncio.timeout(90):
        more, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await more.read() == b""
    writer.close()
    held[0][1].close()

    def answered() -> bool:
        try:
            return ask(f"https://localhost:{server.port}", certificates.path("ca.crt")) == 0
        except Unavailable:
            return False

    async with asyncio.timeout(90):  # there is room again
        while not await asyncio.to_thread(answered):
            pass
    held[1][1].close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def shown(server: WebServer, ca: Path) -> int:
    """The serial number of the certificate that the server shows."""
    context = ssl.create_default_context(cafile=ca)
    _, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
    serial = int(writer.get_extra_info("peercert")["serialNumber"], 16)
    writer.close()
    await writer.wait_closed()
    return serial


async def test_a_renewed_certificate_is_reloaded_and_a_damaged_one_is_not(
    server: WebServer, files: ServerFiles, certificates: Certificates
) -> None:
    ca, folder = certificates.path("ca.crt"), certificates.folder
    first, second = (folder.read(name).certificate.serial_number for name in ("localhost", "soon"))
    assert await shown(server, ca) == first
    shutil.copy(certificates.path("soon.crt"), files.cert)
    assert await shown(server, ca) == first
    server.reload_certificate()
    assert await shown(server, ca) == second
    shutil.copy(certificates.path("client.key"), files.key)
    with pytest.raises(InvalidInput, match=r"--key: the key in .*web\.key is not that of the certificate"):
        server.reload_certificate()
    Path(files.cert).unlink()
    with pytest.raises(InvalidInput, match="--cert: cannot read"):
        server.reload_certificate()
    assert await shown(server, ca) == second


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::", "2001:db8::1"])
def test_an_address_of_other_machines_is_served_with_tls_or_by_express_permission_only(host: str) -> None:
    with pytest.raises(InvalidInput, match="with TLS only: give --cert and --key"):
        checked_host(host)
    with pytest.raises(InvalidInput, match="with TLS only"):
        WebServer(FakeCluster(), host)
    assert checked_host(host, encrypted=True) == checked_host(host, insecure=True) == host


async def test_with_tls_any_of_its_names_is_answered(files: ServerFiles, certificates: Certificates) -> None:
    server = WebServer(FakeCluster(), "0.0.0.0", 0, files=files)
    running = asyncio.create_task(server.run())
    await server.ready.wait()
    context = ssl.create_default_context(cafile=certificates.path("ca.crt"))
    reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
    writer.write(b"GET /api/v1/jobs HTTP/1.1\r\nHost: bmesos.example\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await reader.readline()
    writer.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_tls_an_address_of_other_machines_is_answered_under_itself_only() -> None:
    server = WebServer(FakeCluster(), "127.0.0.2", 0, insecure_plaintext=True)
    running = asyncio.create_task(server.run())
    await server.ready.wait()
    statuses = []
    for host in ("127.0.0.2", "evil.example"):
        reader, writer = await asyncio.open_connection("127.0.0.2", server.port)
        writer.write(f"GET /api/v1/jobs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        statuses.append(int((await reader.readline()).split()[1]))
        writer.close()
    assert statuses == [200, 403]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
