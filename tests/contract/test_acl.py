"""The users of Redis, as they were reviewed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import redis

from broker_mesos.errors import InvalidInput
from broker_mesos.master.config_store import SPACE
from broker_mesos.store.acl import CONFIG_SPACE, acl, user_name
from tests.servers import RedisServer


def test_the_users_are_those_that_were_reviewed() -> None:
    assert acl("lab", "m", {"batch": "b"}) == (Path(__file__).parent / "golden_users.acl").read_text()


def test_passwords_are_in_it_as_their_hash_only() -> None:
    made = acl("default", "secret-of-masters", {"batch": "secret-of-batch"})
    assert "secret" not in made
    assert f"user bmesos-master on #{hashlib.sha256(b'secret-of-masters').hexdigest()} " in made


def test_two_clusters_on_one_server_have_their_own_users() -> None:
    assert user_name("lab", "master") != user_name("default", "master")
    with pytest.raises(InvalidInput, match="cluster name"):
        acl("a*", "m", {})


def test_the_keys_of_masters_are_those_that_they_use() -> None:
    assert CONFIG_SPACE == SPACE


@pytest.mark.servers
def test_a_restart_with_these_users_loses_no_transaction_and_no_script(tmp_path: Path) -> None:
    # Redis up to 8.2 replays a transaction of its append-only file with the rights of the user `default`.
    (tmp_path / "users.acl").write_text(acl("lab", "m", {"batch": "b"}))
    key = "bmesos:{lab.0}:agents"
    with RedisServer(config={"aclfile": str(tmp_path / "users.acl")}) as server:

        def client() -> redis.Redis:
            return redis.Redis(port=server.port, protocol=2, username="bmesos-lab-master", password="m")

        with client().pipeline(transaction=True) as pipeline:
            pipeline.hset(key, "a", "1").hset(key, "b", "2").execute()
        script = "redis.call('HSET', KEYS[1], 'c', '3') redis.call('HSET', KEYS[1], 'd', '4')"
        client().eval(script, 1, key)
        before = client().hgetall(key)
        assert len(before) == 4
        server.restart()
        assert client().hgetall(key) == before
        stranger = redis.Redis(port=server.port, protocol=2)
        for words in (["PING"], ["AUTH", "default", ""], ["AUTH", "default", "m"], ["AUTH", "m"]):
            with pytest.raises(redis.exceptions.AuthenticationError):
                stranger.execute_command(*words)
