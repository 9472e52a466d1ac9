"""Enrolment with TLS everywhere: the agent, the enrolment server, and RabbitMQ with its management API."""

from __future__ import annotations

import json
import signal
import uuid
from pathlib import Path

import pytest

from broker_mesos.core.api.access import token_digest
from tests.e2e.cluster import Cluster, Daemon
from tests.e2e.waiting import until
from tests.security.certificates import Certificates
from tests.servers import RedisServer, free_port
from tests.tls_servers import TlsRabbitMQServer

pytestmark = pytest.mark.servers

TOKEN = "bj1_goodaaaa_" + "g" * 43


class Encrypted(Cluster):
    """A cluster whose daemons have their own users on a broker with TLS."""

    enroll_url = ""
    folder: Path

    def environment(self, kind: str, name: str) -> dict[str, str]:
        host = f"localhost:{self.port}/"
        if kind == "agent":
            return {
                **self.env,
                "BMESOS_BROKER_URL": f"amqps://{host}",
                "BMESOS_ENROLL_URL": self.enroll_url,
                "BMESOS_JOIN_TOKEN_FILE": str(self.folder / "token"),
            }
        secret = (self.folder / "secrets" / f"rabbitmq-{kind}").read_text().strip()
        return {**self.env, "BMESOS_BROKER_URL": f"amqps://{kind}:{secret}@{host}"}

    port = 0


def test_agents_enrol_over_tls_and_trust_no_other_server(
    certificates: Certificates, tmp_path: Path, redis_server: RedisServer
) -> None:
    name = f"t{uuid.uuid4().hex[:10]}"
    files = certificates.files("localhost")
    policy = tmp_path / "policy.toml"
    policy.write_text(
        f'[join]\ntokens = [{{id = "goodaaaa", sha256 = "{token_digest(TOKEN)}", expires = 2100-01-01T00:00:00Z}}]\n'
        "[principal.ann]\nactions = ['view']\n"
    )
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = {
        "tls_ca": certificates.path("ca.crt"),
        "security": "on",
        "policy": policy,
        "connect_timeout": 30,
        "same_user": True,
        "allow_root": True,
    }
    with TlsRabbitMQServer(files, management=True) as rabbitmq:
        cluster = Encrypted("", redis_server.url, name, tmp_path / "cluster", settings)
        made = cluster.cli(
            "--cluster", name, "deploy", "rabbitmq-definitions", "--enroll", "--person", "ann", "--secrets",
            str(tmp_path / "secrets"),
        )  # fmt: skip
        (tmp_path / "definitions.json").write_text(made.stdout)
        rabbitmq.ctl("import_definitions", str(tmp_path / "definitions.json"))
        cluster.folder, cluster.port = tmp_path, rabbitmq.tls_port
        ann = (tmp_path / "secrets" / "rabbitmq-ann").read_text().strip()
        cluster.amqp_url = f"amqps://ann:{ann}@localhost:{rabbitmq.tls_port}/"
        cluster.admin_url = rabbitmq.url
        with cluster:
            cluster.master(cells=1).ready()
            port = free_port()
            cert, key = tmp_path / "enroll.crt", tmp_path / "enroll.key"

            def show(shown: str) -> None:
                cert.write_bytes(certificates.files(shown).cert.read_bytes())
                key.write_bytes(certificates.files(shown).key.read_bytes())

            show("localhost")
            words = ["--port", str(port), "--cert", str(cert), "--key", str(key)]
            words += ["--management-url", rabbitmq.tls_management_url]
            server = Daemon(cluster, "enroll", "enroll", ["enroll-server", *words])
            cluster.daemons.append(server)
            until("it serves", lambda: server._alive() and server.events("serving"))
            cluster.enroll_url = f"https://localhost:{port}"
            agent = cluster.agent().ready()
            found = json.loads((agent.work_dir / "meta" / "broker_user.json").read_text())  # type: ignore[operator]
            assert cluster.agent_id(agent) == found["name"]

            show("expired")
            server.signal(signal.SIGHUP)
            until("it has read it", lambda: server.events("the certificate is reloaded"))
            given = cluster.environment("agent", "x")
            other = {**given, "BMESOS_TLS_CA": str(certificates.path("other/ca.crt"))}
            management = f"https://127.0.0.1:{rabbitmq.tls_management_url.rpartition(':')[2]}"
            cases = [
                (("agent", "--work-dir", str(tmp_path / "w1")), given, "its certificate expired on"),
                (("agent", "--work-dir", str(tmp_path / "w2")), other, "is not trusted"),
                (
                    ("enroll-server", "--port", "0", "--management-url", management),
                    cluster.environment("enroll", "x"),
                    "not for 127.0.0.1",
                ),
            ]
            started = [cluster.cli_start(*words, env=env) for words, env, _ in cases]
            for program, (_, _, reason) in zip(started, cases, strict=True):
                _, err = program.communicate(timeout=60)
                line = err.decode().splitlines()[-1]
                assert program.returncode == 4 and reason in line and TOKEN not in err.decode(), err
            server.stop()
