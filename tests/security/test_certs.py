"""``bmesos certs``: a development CA in a folder."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker_mesos.certs.folder import Folder
from broker_mesos.cli import main
from tests.security.certificates import dated, write

Captured = pytest.CaptureFixture[str]

DAY = 86_400


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "certs"


def run(*words: str) -> None:
    assert main(["certs", *words]) == 0


def refused(capsys: Captured, code: int, *words: str) -> str:
    capsys.readouterr()
    assert main(["certs", *words]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err


def connects(ca: Path, cert: Path, key: Path, name: str) -> None:
    """A handshake in memory, with all checks of a client."""
    client, server = ssl.create_default_context(cafile=ca), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    assert ends[0].version() is not None and ends[0].getpeercert()


def test_a_ca_and_a_certificate_for_a_service_are_made(place: Path, capsys: Captured) -> None:
    run("ca")
    run("issue", "rabbitmq", "--san", "localhost", "--san", "10.0.0.5", "--san", "::1")
    assert "certs/rabbitmq.crt for rabbitmq, localhost, 10.0.0.5, ::1, until " in capsys.readouterr().out
    assert {each.name for each in place.iterdir()} == {"ca.crt", "ca.key", "rabbitmq.crt", "rabbitmq.key"}
    assert {each.stat().st_mode & 0o777 for each in place.glob("*.key")} == {0o600}
    assert place.stat().st_mode & 0o777 == 0o700
    for name in ("rabbitmq", "localhost", "10.0.0.5", "::1"):
        connects(place / "ca.crt", place / "rabbitmq.crt", place / "rabbitmq.key", name)
    with pytest.raises(ssl.SSLCertVerificationError):
        connects(place / "ca.crt", place / "rabbitmq.crt", place / "rabbitmq.key", "redis")
    assert 89 * DAY < Folder(place).read("rabbitmq").ends - time.time() <= 90 * DAY


def test_nothing_is_overwritten(place: Path, capsys: Captured) -> None:
    run("ca")
    run("issue", "web")
    before = {each.name: each.read_bytes() for each in place.iterdir()}
    assert "certs/ca.crt exists, and is not overwritten: " in refused(capsys, 1, "ca")
    assert "`bmesos certs renew web`" in refused(capsys, 1, "issue", "web")
    (place / "lone.key").write_text("mine")
    assert "lone.key exists" in refused(capsys, 1, "issue", "lone")
    (place / "lone.key").unlink()
    assert {each.name: each.read_bytes() for each in place.iterdir()} == before


def test_wrong_names_and_folders_are_one_line(place: Path, capsys: Captured) -> None:
    assert "no CA in certs: make one with `bmesos certs ca --dir certs`" in refused(capsys, 3, "issue", "web")
    assert "no CA in certs" in refused(capsys, 3, "show")
    assert "no CA in certs" in refused(capsys, 3, "renew")
    run("ca")
    for name in ("../web", "ca", "", "a b"):
        assert "name " in refused(capsys, 2, "issue", name)
    for name in ("a b", "1.2.3", "-x.example", "a..b", "a/b", ""):
        assert "is no host name or IP address" in refused(capsys, 2, "issue", "web", f"--san={name}")
    assert "no such file: certs/web.crt" in refused(capsys, 3, "renew", "web")
    (place / "web.crt").write_text("x")
    (place / "web.key").write_text("x")
    assert "cannot be used" in refused(capsys, 2, "renew", "web")
    assert "cannot make the folder" in refused(capsys, 2, "ca", "--dir", "certs/ca.crt/x")


def test_what_ends_soon_is_renewed_with_its_key_and_names(place: Path, capsys: Captured) -> None:
    run("ca")
    run("issue", "web", "--san", "localhost")
    run("issue", "redis")
    capsys.readouterr()
    run("renew")
    assert capsys.readouterr().out == "nothing ends soon\n"
    folder, now = Folder(place), datetime.now(UTC)
    old = dated(folder.read("web"), folder.read("ca"), now - timedelta(days=70), now + timedelta(days=20))
    write(place, "web", old)
    kept = {name: (place / name).read_bytes() for name in ("web.key", "redis.crt", "redis.key", "ca.crt", "ca.key")}
    run("renew")
    assert "renewed certs/web.crt for web, localhost, until " in capsys.readouterr().out
    assert {name: (place / name).read_bytes() for name in kept} == kept
    assert folder.read("web").ends > time.time() + 89 * DAY and folder.read("web").names == ("web", "localhost")
    connects(place / "ca.crt", place / "web.crt", place / "web.key", "localhost")
    run("renew", "web", "--new-key")
    assert (place / "web.key").read_bytes() != kept["web.key"] and (place / "web.key").stat().st_mode & 0o777 == 0o600
    connects(place / "ca.crt", place / "web.crt", place / "web.key", "localhost")


def test_a_ca_is_renewed_in_time_and_what_it_has_signed_stays_trusted(place: Path, capsys: Captured) -> None:
    run("ca")
    run("issue", "web")
    folder, now = Folder(place), datetime.now(UTC)
    authority = folder.read("ca")
    old = dated(authority, authority, now - timedelta(days=1), now + timedelta(days=60))
    write(place, "ca", old)
    assert "`bmesos certs renew ca`" in refused(capsys, 2, "issue", "redis")
    run("issue", "redis", "--days", "10")
    web = (place / "web.crt").read_bytes()
    (place / "before.pem").write_bytes((place / "ca.crt").read_bytes())
    run("renew", "--within", "0")
    assert folder.read("ca").ends > time.time() + 1_800 * DAY and folder.read("ca").key_pem == authority.key_pem
    assert (place / "web.crt").read_bytes() == web
    for ca in ("ca.crt", "before.pem"):
        connects(place / ca, place / "web.crt", place / "web.key", "web")


def test_the_certificates_are_listed(place: Path, capsys: Captured) -> None:
    run("ca")
    run("issue", "web", "--san", "localhost")
    capsys.readouterr()
    run("show")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "ca", "web"] and "web, localhost" in lines[2]
    run("show", "-o", "json")
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found] == ["ca", "web"] and found[1]["names"] == ["web", "localhost"]


def test_without_the_package_one_line_names_what_to_install(place: Path) -> None:
    program = (
        "import sys\nsys.modules['cryptography'] = None\nfrom broker_mesos.cli import main\n"
        "sys.exit(main(['certs', 'ca']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and not place.exists()
    assert "pip install 'broker-mesos[certs]'" in done.stderr
