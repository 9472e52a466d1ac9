"""The files for TLS, the URLs that need them, and what is refused before anything is connected."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from broker_mesos.bus.rabbitmq.server import DEFAULT_TIMEOUTS, Server
from broker_mesos.client.connect import connect
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.loopback import is_loopback
from broker_mesos.runtime.settings import load
from broker_mesos.runtime.tls import (
    ContextSource,
    ServerFiles,
    TlsFiles,
    client_context,
    file_end,
    server_context,
    validity,
)
from tests.security.certificates import Certificates


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("own", [True, False])
def test_every_context_checks_names_and_certificates_from_tls_1_2_on(own: bool, certificates: Certificates) -> None:
    path = certificates.path
    pair = (str(path("client.crt")), str(path("client.key"))) if own else ("", "")
    for files in (TlsFiles(str(path("ca.crt")), *pair), TlsFiles("", *pair)):
        context = client_context(files)
        assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(client_context(TlsFiles(str(path("ca.crt")))).get_ca_certs()) == 1
    server = server_context(ServerFiles(str(path("localhost.crt")), str(path("localhost.key"))))
    assert server.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_file_that_cannot_be_used_is_named_with_its_setting(certificates: Certificates, tmp_path: Path) -> None:
    ca, cert, key = (str(certificates.path(name)) for name in ("ca.crt", "client.crt", "client.key"))
    absent = str(tmp_path / "absent")
    text = tmp_path / "text"
    text.write_text("nothing\n")
    damaged = tmp_path / "damaged"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    damaged_key = tmp_path / "damaged.key"
    damaged_key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    locked = tmp_path / "locked.key"
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = serialization.BestAvailableEncryption(b"hush")
    locked.write_bytes(certificates.folder.read("client").key.private_bytes(pem, form, secret))
    for files, words in (
        (TlsFiles(absent), f"tls_ca: cannot read {absent}: No such file"),
        (TlsFiles(str(tmp_path)), f"tls_ca: cannot read {tmp_path}: Is a directory"),
        (TlsFiles(str(text)), f"tls_ca: {text} contains no certificate"),
        (TlsFiles(key), f"tls_ca: {key} contains no certificate"),
        (TlsFiles(str(damaged)), f"tls_ca: {damaged} contains no certificate"),
        (TlsFiles(ca, absent, key), f"tls_cert: cannot read {absent}"),
        (TlsFiles(ca, cert, absent), f"tls_key: cannot read {absent}"),
        (TlsFiles(ca, key, key), f"tls_cert: {key} contains no certificate"),
        (TlsFiles(ca, cert), f"tls_cert: {cert} contains no private key"),
        (TlsFiles(ca, cert, cert), f"tls_key: {cert} contains no private key"),
        (
            TlsFiles(ca, cert, str(certificates.path("localhost.key"))),
            "localhost.key is not that of the certificate in",
        ),
        (TlsFiles(ca, str(damaged), key), f"tls_cert: {damaged}, or the key in {key}, is damaged"),
        (TlsFiles(ca, cert, str(damaged_key)), f"or the key in {damaged_key}, is damaged"),
        (TlsFiles(ca, cert, str(locked)), f"tls_key: the key in {locked} has a password"),
        (TlsFiles(ca, "", key), f"tls_key: {key} without a certificate"),
    ):
        with pytest.raises(InvalidInput) as caught:
            client_context(files)
        assert words in str(caught.value) and "\n" not in str(caught.value), files


def test_files_that_changed_are_read_again_and_others_are_not(certificates: Certificates, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    shutil.copy(certificates.path("ca.crt"), ca)
    source = ContextSource(TlsFiles(str(ca)))
    first = source.get()
    assert source.get() is first
    shutil.copy(certificates.path("other/ca.crt"), ca)
    second = source.get()
    assert second is not first and second.get_ca_certs() != first.get_ca_certs()
    ca.unlink()
    with pytest.raises(OSError, match="tls_ca: cannot read"):
        source.get()
    shutil.copy(certificates.path("ca.crt"), ca)
    assert source.get().get_ca_certs() == first.get_ca_certs()
    ca.unlink()
    with pytest.raises(InvalidInput, match="tls_ca: cannot read"):
        ContextSource(TlsFiles(str(ca)))


def test_certificate_and_key_may_be_in_one_file(certificates: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.path("client.crt").read_bytes() + certificates.path("client.key").read_bytes())
    client_context(TlsFiles("", str(both)))


@pytest.mark.parametrize("name", ["ca", "localhost", "expired", "early", "soon"])
def test_the_dates_of_a_certificate_are_read(name: str, certificates: Certificates) -> None:
    found = certificates.folder.read(name).certificate
    expected = (found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp())
    assert validity(found.public_bytes(serialization.Encoding.DER)) == expected
    assert file_end(str(certificates.path(f"{name}.crt"))) == expected[1]


def test_what_is_no_certificate_has_no_dates(certificates: Certificates, tmp_path: Path) -> None:
    whole = certificates.folder.read("ca").certificate.public_bytes(serialization.Encoding.DER)
    for end in range(80):
        with pytest.raises(ValueError):
            validity(whole[:end])
    assert file_end(str(certificates.path("ca.key"))) is None
    assert file_end(str(tmp_path / "absent")) is None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "::1", "[::1]"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "128.0.0.1",
        "127.0.0.1.example",
        "127.0.0.1.1",
        "127.1",
        "127.0.0.256",
        "127.0.0.x",
        "localhost.example",
        "ip6-localhost",
        "::2",
        "rabbitmq",
    ],
)
def test_any_other_host_is_not(host: str) -> None:
    assert not is_loopback(host)


PLAINTEXT = [
    ("broker_url", "amqp://me:hush@rabbitmq/", "amqps://"),
    ("store_url", "redis://:hush@10.0.0.5:6379/0", "rediss://"),
    ("url", "http://10.0.0.5:5050", "https://"),
    ("url", "amqp://me:hush@rabbitmq/", "amqps://"),
]


@pytest.mark.parametrize(("name", "url", "better"), PLAINTEXT)
def test_plaintext_to_another_host_is_refused_unless_it_is_allowed(
    name: str, url: str, better: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(**flags: object) -> str:
        settings = load(**{name: url}, **flags)
        return {"broker_url": settings.need_broker, "store_url": settings.need_store, "url": settings.client_url}[
            name
        ]()

    with pytest.raises(InvalidInput) as caught:
        use()
    said = str(caught.value)
    assert said.startswith(f"{name}: ") and "is not encrypted" in said and "\n" not in said and "hush" not in said
    assert better in said and "--insecure-plaintext" in said and "tls_ca" in said
    assert use(insecure_plaintext=True) == url
    monkeypatch.setenv("BMESOS_INSECURE_PLAINTEXT", "1")
    assert use() == url
    with pytest.raises(InvalidInput, match="is not encrypted"):
        use(insecure_plaintext=False)


@pytest.mark.parametrize("url", [url for name, url, _ in PLAINTEXT if name == "url"])
def test_a_client_uses_no_plaintext_to_another_host_either(url: str) -> None:
    with pytest.raises(InvalidInput, match="is not encrypted"):
        connect(url, None)
    connect(url, None, insecure_plaintext=True).close()


@pytest.mark.parametrize("url", ["http://h.example/?ssl_x=1", "https://h/?cert_reqs=0", "amqps://h/?ssl_options=x"])
def test_an_option_for_tls_in_the_url_of_a_client_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"--url: the option \w+ in a URL is refused.*tls_ca"):
        connect(url, None)


def test_a_wrong_file_is_one_line_before_anything_is_connected(tmp_path: Path) -> None:
    for url in ("https://localhost:1", "amqps://localhost:1/"):
        with pytest.raises(InvalidInput, match="tls_ca: cannot read absent"):
            connect(url, None, tls_ca="absent").call("GET_JOBS", {}, 5, 0)


@pytest.mark.parametrize(("url", "port"), [("amqps://u:p@h.example/v", 5671), ("AMQPS://u:p@h.example:5673/v", 5673)])
def test_a_named_authority_spares_reading_those_of_the_system(
    url: str, port: int, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them takes 20 ms, for each connection of each process."""

    def read(*_: object) -> None:
        raise AssertionError("read the authorities of the system")

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", read)
    server = Server(url, TlsFiles(str(certificates.path("ca.crt"))))
    parameters = server.parameters("name", 60, DEFAULT_TIMEOUTS)
    assert (server.port, parameters.port, parameters.host, parameters.virtual_host) == (port, port, "h.example", "v")
    assert parameters.ssl_options is not None and parameters.ssl_options.server_hostname == "h.example"
    assert len(parameters.ssl_options.context.get_ca_certs()) == 1
