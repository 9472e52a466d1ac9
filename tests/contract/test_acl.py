"""The users of Redis, as they were reviewed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from broker_mesos.errors import InvalidInput
from broker_mesos.master.config_store import SPACE
from broker_mesos.store.acl import CONFIG_SPACE, acl, user_name


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
