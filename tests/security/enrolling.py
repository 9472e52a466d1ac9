"""A cluster whose agents enrol themselves, and its servers."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
from pathlib import Path
from typing import Any

from broker_mesos.core.api.access import token_digest
from tests.e2e.cluster import Daemon
from tests.e2e.waiting import until
from tests.security.secured import SecuredCluster, deploy
from tests.servers import RabbitMQServer, RedisServer, free_port

TOKENS = {name: f"bj1_{name:a<8}_" + name[0] * 43 for name in ("good", "old", "later")}
AGENT = "cpus:4;mem:4096;disk:0;ports:[]"


def entry(name: str) -> str:
    expires = "2020-01-01T00:00:00Z" if name == "old" else "2100-01-01T00:00:00Z"
    return f'{{id = "{TOKENS[name][4:12]}", sha256 = "{token_digest(TOKENS[name])}", expires = {expires}}}'


POLICY = """
[principal.ann]
actions = ["view", "submit", "kill:any", "gone", "enroll"]

[principal.bob]
actions = ["view"]

[join]
tokens = [{}]
"""


class Servers:
    """RabbitMQ with its management API, and Redis; there are no agents' users yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        people = ("--person", "ann", "--person", "bob")
        definitions = deploy(folder, "rabbitmq-definitions", "--enroll", *people)
        (folder / "definitions.json").write_text(definitions)
        (folder / "users.acl").write_text(deploy(folder, "redis-acl"))
        config = {"load_definitions": str(folder / "definitions.json")}
        self.rabbitmq = RabbitMQServer(config=config, management=True)
        self.redis = RedisServer(config={"aclfile": str(folder / "users.acl")})

    def password(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def amqp_url(self, user: str) -> str:
        return f"amqp://{user}:{self.password(f'rabbitmq-{user}')}@127.0.0.1:{self.rabbitmq.port}/"

    def redis_url(self, user: str) -> str:
        return f"redis://{user}:{self.password(f'redis-{user}')}@127.0.0.1:{self.redis.port}/0"


class Enrolling(SecuredCluster):
    """A cluster whose agents have no user to begin with."""

    def __init__(self, servers: Any, tmp: Path) -> None:
        self.policy = tmp / "policy.toml"
        tmp.mkdir(parents=True, exist_ok=True)
        self.admit("good", "old")
        self.port = free_port()
        super().__init__(servers, tmp, {"policy": self.policy})
        self.token = TOKENS["good"]
        self.failpoints: dict[str, str] = {}
        self.passwords: set[str] = set()

    def admit(self, *names: str) -> None:
        """Write the join tokens into the policy."""
        self.policy.write_text(POLICY.format(", ".join(map(entry, names))))

    def environment(self, kind: str, name: str) -> dict[str, str]:
        broker = self.servers.rabbitmq
        points = {"BMESOS_FAILPOINTS": self.failpoints.pop(kind)} if kind in self.failpoints else {}
        if kind == "agent":
            return {
                **self.env,
                **points,
                "BMESOS_BROKER_URL": f"amqp://127.0.0.1:{broker.port}/",
                "BMESOS_ENROLL_URL": f"http://127.0.0.1:{self.port}",
                "BMESOS_JOIN_TOKEN": self.token,
            }
        if kind == "enroll":
            return {
                **self.env,
                **points,
                "BMESOS_BROKER_URL": self.servers.amqp_url("enroll"),
                "BMESOS_MANAGEMENT_URL": broker.management_url,
            }
        return super().environment(kind, name)

    def enroll_server(self) -> Daemon:
        daemon = Daemon(self, "enroll", self._name("enroll"), ["enroll-server", "--port", str(self.port)])
        self.daemons.append(daemon)
        until("the enrolment server serves", lambda: daemon._alive() and daemon.events("serving"))
        return daemon

    def user(self, agent: Daemon) -> dict[str, str]:
        """The user that an agent has stored."""
        assert agent.work_dir is not None
        found: dict[str, str] = json.loads((agent.work_dir / "meta" / "broker_user.json").read_text())
        self.passwords.add(found["password"])
        return found

    def admin(self, method: str, path: str) -> Any:
        """What the management API answers to the administrator; None for what does not exist."""
        connection = http.client.HTTPConnection(self.servers.rabbitmq.management_url.removeprefix("http://"))
        credentials = f"enroll:{self.servers.password('rabbitmq-enroll')}".encode()
        headers = {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
        connection.request(method, f"/api/{path}", headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return json.loads(body) if response.status == 200 else None

    def ask(self, **body: object) -> tuple[int, Any]:
        """Status and content of an answer to a request of no agent's, each from another address of this machine."""
        return post(
            self.port, json.dumps(body).encode(), f"127.1.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        )


def post(port: int, body: bytes, source: str = "127.0.0.1", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, source_address=(source, 0))
    connection.request("POST", "/enroll", body, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, content


def password() -> str:
    return secrets.token_urlsafe(32)
