"""A cluster whose daemons have their own users on RabbitMQ and Redis, with the rights that `bmesos deploy` prints."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from broker_mesos.client import Client
from broker_mesos.core.api.access import ACTIONS, token_digest
from tests.e2e.cluster import BMESOS, Cluster
from tests.servers import RabbitMQServer, RedisServer

NAME = "lab"
AGENTS = ("agent-1", "agent-2", "agent-3")
FRAMEWORKS = ("f1", "f2")
PEOPLE = ("ann", "bob")


def deploy(folder: Path, *words: str) -> str:
    """What ``bmesos deploy`` prints, with the passwords of this folder."""
    command = [BMESOS, "--cluster", NAME, "deploy", *words, "--secrets", str(folder / "secrets")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout


class Servers:
    """RabbitMQ and Redis with exactly these users."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = [word for agent in AGENTS for word in ("--agent", agent)]
        words += [word for framework in FRAMEWORKS for word in ("--framework", framework)]
        words += [word for person in PEOPLE for word in ("--person", person)]
        self.definitions: dict[str, Any] = json.loads(deploy(folder, "rabbitmq-definitions", *words))
        (folder / "definitions.json").write_text(json.dumps(self.definitions))
        (folder / "users.acl").write_text(deploy(folder, "redis-acl"))
        self.rabbitmq = RabbitMQServer(config={"load_definitions": str(folder / "definitions.json")})
        self.redis = RedisServer(config={"aclfile": str(folder / "users.acl")})

    def start(self) -> None:
        self.redis.start()
        self.rabbitmq.start()

    def close(self) -> None:
        self.rabbitmq.close()
        self.redis.close()

    def password(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def amqp_url(self, user: str) -> str:
        return f"amqp://{user}:{self.password(f'rabbitmq-{user}')}@127.0.0.1:{self.rabbitmq.port}/"

    def redis_url(self, user: str) -> str:
        return f"redis://{user}:{self.password(f'redis-{user}')}@127.0.0.1:{self.redis.port}/0"


TOKEN = "bm1_ann00000_" + "a" * 43
"""The token of ann in the policy of clusters that have no other one."""
POLICY = f"""
[principal.ann]
actions = {json.dumps([each for each in ACTIONS if each != "kill:own"])}
tokens = [{{id = "ann00000", sha256 = "{token_digest(TOKEN)}", expires = 2100-01-01T00:00:00Z}}]
"""


class SecuredCluster(Cluster):
    """Its daemons are started with their own users. Its client is the person ann, over RabbitMQ, who may do everything
    unless the settings name another policy. Its tasks run as the user of the tests, unless the settings name
    another."""

    def __init__(self, servers: Servers, tmp: Path, settings: Mapping[str, object] | None = None) -> None:
        given = {"security": "on", **(settings or {})}
        if "task_user" not in given:
            given |= {"same_user": True, "allow_root": True}
        self._token = ""
        if "policy" not in given:
            tmp.mkdir(parents=True, exist_ok=True)
            given["policy"] = tmp.absolute() / "policy.toml"
            (tmp / "policy.toml").write_text(POLICY)
            self._token = TOKEN
        super().__init__(servers.amqp_url("ann"), "redis://127.0.0.1:1/0", NAME, tmp, given)
        if self._token:
            self.env["BMESOS_TOKEN"] = self._token
        self.servers = servers

    def client(self, url: str | None = None) -> Client:
        with pytest.MonkeyPatch.context() as patch:
            if self._token:
                patch.setenv("BMESOS_TOKEN", self._token)
            return super().client(url)

    def environment(self, kind: str, name: str) -> dict[str, str]:
        user = name if kind == "agent" else kind
        found = {**self.env, "BMESOS_BROKER_URL": self.servers.amqp_url(user)}
        if kind in ("master", "batch"):
            found["BMESOS_STORE_URL"] = self.servers.redis_url(f"bmesos-{NAME}-{kind}")
        return found
