"""A whole cluster on ``amqps://``, ``rediss://`` and ``https://``, and how its commands and daemons refuse the rest."""

from __future__ import annotations

import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker_mesos import FrameworkInfo, Scheduler, SchedulerDriver
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.sdk.driver import Driver
from tests.e2e.cluster import Cluster
from tests.e2e.waiting import until
from tests.security.certificates import Certificates
from tests.security.conftest import TlsServers

STORE_USERS = [["master"], ["framework", "batch"]]
BROKER_USERS = [*STORE_USERS, ["agent"], ["web", "--port", "0"], ["simulate", "agents"]]


@pytest.fixture
def secured(tls_servers: TlsServers, certificates: Certificates, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without any daemon yet, on servers with TLS."""
    settings = {"tls_ca": certificates.path("ca.crt"), "connect_timeout": 30}
    name = f"t{uuid.uuid4().hex[:10]}"
    with Cluster(tls_servers.rabbitmq.tls_url, tls_servers.redis.tls_url, name, tmp_path, settings) as made:
        made.admin_url = tls_servers.rabbitmq.url
        yield made


class Registered(Scheduler):
    """A framework that ends as soon as it is registered."""

    def registered(self, driver: Driver, framework_id: str) -> None:
        driver.stop()


def framework() -> FrameworkInfo:
    return FrameworkInfo(framework_id=f"f{uuid.uuid4().hex[:8]}")


def refused(done: Sequence[subprocess.CompletedProcess[str]], code: int, *words: str) -> None:
    """All ended with this exit code, and the last line gave the reason in these words."""
    for each in done:
        said = each.stdout + each.stderr
        assert each.returncode == code, (each.args, said)
        line = each.stderr.splitlines()[-1]
        assert line.startswith("bmesos: ") and all(word in line for word in words), each.stderr
        assert "Traceback" not in said


def test_a_whole_cluster_with_tls_runs_jobs_and_renews_the_certificate_of_its_api(
    secured: Cluster, certificates: Certificates
) -> None:
    cert, key = secured.tmp / "web.crt", secured.tmp / "web.key"
    shutil.copy(certificates.path("localhost.crt"), cert)
    shutil.copy(certificates.path("localhost.key"), key)
    secured.master(cells=2)
    secured.agent()
    secured.batch()
    web = secured.web("--host", "0.0.0.0", "--cert", str(cert), "--key", str(key), "--insecure-plaintext")
    secured.ready()
    assert secured.consumers(Queue(QueueKind.OPERATOR_FRAMEWORK, "batch")) == 1
    for url in (web.url, secured.amqp_url):
        done = secured.cli("submit", "--wait", "--array", "1-20", "--", "true", url=url)
        assert done.returncode == 0, done.stderr
    doctor = secured.cli("doctor", url=web.url, timeout=60)
    assert doctor.returncode == 0 and "expires" not in doctor.stdout, doctor.stdout + doctor.stderr
    assert web.events("there is no authentication: whoever reaches this address may do everything")
    ca = certificates.path("ca.crt")
    driver = SchedulerDriver(Registered(), framework(), secured.amqp_url, cluster=secured.name, tls_ca=ca)
    driver.start()
    assert driver.join(30)
    # `bmesos certs renew` writes new files; SIGHUP makes the daemon read them.
    shutil.copy(certificates.path("soon.crt"), cert)
    web.signal(signal.SIGHUP)
    until("the certificate is reloaded", lambda: web.events("the certificate is reloaded"))
    doctor = secured.cli("doctor", url=web.url, timeout=60)
    assert doctor.returncode == 0
    assert f"the certificate of the operator API at localhost:{urlsplit(web.url).port} expires on" in doctor.stdout
    cert.write_text("damaged")
    web.signal(signal.SIGHUP)
    what = "the certificate is not reloaded, and the one before stays in use"
    (line,) = until("it is not reloaded", lambda: web.events(what))
    assert line["error"] == f"--cert: {cert} contains no certificate in PEM form"
    assert secured.cli("status", url=web.url).returncode == 0


def test_a_certificate_that_cannot_be_trusted_ends_every_daemon_and_command_at_once(
    secured: Cluster, certificates: Certificates
) -> None:
    """With exit code 4, long before the time limit for connecting."""
    other = {"BMESOS_TLS_CA": str(certificates.path("other/ca.crt"))}
    words = ("its certificate is not trusted", str(certificates.path("other/ca.crt")), "checked for localhost")
    refused(secured.cli_all([*BROKER_USERS, ["status"]], env=other), 4, *words)
    given = ["--tls-ca", str(certificates.path("ca.crt"))]
    where = secured.amqp_url.replace("localhost", "127.0.0.1")
    env = {"BMESOS_BROKER_URL": where, "BMESOS_TLS_CA": str(certificates.path("other/ca.crt"))}
    lines = [[*words, *given] for words in (["agent"], ["web", "--port", "0"], ["status"])]
    refused(secured.cli_all(lines, url=where, env=env), 4, "its certificate is for localhost, not for 127.0.0.1")


def test_wrong_files_and_options_end_every_daemon_and_command_with_2(secured: Cluster) -> None:
    everybody = [*BROKER_USERS, ["status"]]
    refused(secured.cli_all(everybody, env={"BMESOS_TLS_CA": "absent.crt"}), 2, "tls_ca: cannot read absent.crt")
    refused(
        secured.cli_all(everybody, env={"BMESOS_TLS_KEY": "lone.key"}), 2, "tls_key: lone.key without a certificate"
    )
    url = f"{secured.amqp_url}?ssl_options={{'cert_reqs':0}}"
    refused(
        secured.cli_all(everybody, url=url, env={"BMESOS_BROKER_URL": url}), 2, "ssl_options", "is refused", "tls_ca"
    )
    store = {"BMESOS_STORE_URL": f"{secured.redis_url}?ssl_cert_reqs=none"}
    refused(secured.cli_all(STORE_USERS, env=store), 2, "BMESOS_STORE_URL: ", "ssl_cert_reqs", "is refused", "tls_ca")


def test_plaintext_to_another_host_ends_every_daemon_and_command_with_2(secured: Cluster) -> None:
    url = "amqp://rabbitmq.invalid/"
    everybody = [*BROKER_USERS, ["status"]]
    done = secured.cli_all(everybody, url=url, env={"BMESOS_BROKER_URL": url})
    refused(done, 2, "amqp:// to rabbitmq.invalid:5672 is not encrypted", "amqps://", "--insecure-plaintext")
    done = secured.cli_all(STORE_USERS, env={"BMESOS_STORE_URL": "redis://redis.invalid:6379/0"})
    refused(done, 2, "redis:// to redis.invalid:6379 is not encrypted", "rediss://")
    refused(
        [secured.cli("status", url="http://web.invalid")], 2, "http:// to web.invalid:80 is not encrypted", "https://"
    )
    refused([secured.cli("web", "--host", "0.0.0.0")], 2, "host 0.0.0.0", "--cert", "--insecure-plaintext")
    # Allowed, it is a name that does not exist.
    env = {"BMESOS_BROKER_URL": url, "BMESOS_CONNECT_TIMEOUT": "0.5"}
    lines = [[*words, "--insecure-plaintext"] for words in (["agent"], ["status", "--timeout", "1"])]
    refused(secured.cli_all(lines, url=url, env=env), 4, "rabbitmq.invalid")


def test_a_framework_of_an_author_is_refused_in_the_same_words(
    secured: Cluster, certificates: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    for url, ca, code, words in (
        ("amqp://rabbitmq.invalid/", None, 2, "is not encrypted"),
        (secured.amqp_url, "absent.crt", 2, "tls_ca: cannot read absent.crt"),
        (secured.amqp_url, certificates.path("other/ca.crt"), 4, "its certificate is not trusted"),
    ):
        driver = SchedulerDriver(Registered(), framework(), url, cluster=secured.name, tls_ca=ca, open_timeout=600)
        assert driver.main() == code
        assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_port_without_tls_is_refused_in_one_line(secured: Cluster, tls_servers: TlsServers) -> None:
    broker = secured.amqp_url.replace(str(tls_servers.rabbitmq.tls_port), str(tls_servers.rabbitmq.port))
    env = {"BMESOS_BROKER_URL": broker, "BMESOS_CONNECT_TIMEOUT": "4"}
    done = secured.cli_all([["agent"], ["status", "--timeout", "4"]], url=broker, env=env)
    refused(done, 4, "does not use TLS at this port")
