"""The rights that the topology leads to, as they were reviewed: golden files, which a change of either changes."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from broker_mesos.bus.rights import Role, definitions, is_password, password_hash, rights, role_of
from broker_mesos.bus.topology import Topology
from broker_mesos.core.protocol.addresses import Exchange
from broker_mesos.errors import InvalidInput
from broker_mesos.frameworks.registry import FRAMEWORKS

GOLDEN = Path(__file__).parent / "golden"
SALT = bytes.fromhex("908dc60a")


def test_the_definitions_are_those_that_were_reviewed() -> None:
    users = {
        "master": Role.MASTER,
        "batch": Role.BUILT_IN,
        "web": Role.WEB,
        "agent-1": Role.AGENT,
        "f1": Role.FRAMEWORK,
        "ann": Role.PERSON,
        "enroll": Role.ENROLL,
    }
    made = definitions(
        Topology(), {name: (role, password_hash(name, SALT)) for name, role in users.items()}, FRAMEWORKS
    )
    assert json.dumps(made, indent=2) + "\n" == (GOLDEN / "definitions.json").read_text()


def test_a_password_has_the_form_that_rabbitmq_documents() -> None:
    """The example of its documentation on passwords."""
    assert password_hash("test12", SALT) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


@pytest.mark.parametrize(("digest", "algorithm"), [("sha256", "sha256"), ("sha512", "sha512")])
def test_a_password_is_compared_with_the_hash_that_rabbitmq_keeps(digest: str, algorithm: str) -> None:
    kept = base64.b64encode(SALT + hashlib.new(digest, SALT + b"test12").digest()).decode()
    name = f"rabbit_password_hashing_{algorithm}"
    assert is_password("test12", kept, name)
    assert not is_password("test13", kept, name) and not is_password("", kept, name)
    assert not is_password("test12", kept, "rabbit_password_hashing_md5")


@pytest.mark.parametrize("kept", ["", "AAAA", "no base 64", "ä", base64.b64encode(SALT).decode()])
def test_a_user_without_a_password_has_none_that_fits(kept: str) -> None:
    for password in ("", "test12"):
        assert not is_password(password, kept, "rabbit_password_hashing_sha256")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.MASTER])
def test_a_user_has_patterns_of_keys_for_every_topic_exchange_that_it_uses(role: Role) -> None:
    """RabbitMQ allows every key of an exchange without patterns."""
    user = {Role.AGENT: "agent-1", Role.FRAMEWORK: "f1", Role.PERSON: "ann", Role.BUILT_IN: "batch"}.get(
        role, "enroll" if role is Role.ENROLL else role.value
    )
    topology = Topology("lab")
    found = rights(topology, user, role, FRAMEWORKS)
    for exchange in Exchange:
        kind = topology.exchanges()[topology.exchange(exchange)]
        named = any(topology.exchange(exchange).replace(".", "\\.") in pattern for pattern in (found.write, found.read))
        assert (exchange in found.keys) == (named and kind == "topic"), exchange


@pytest.mark.parametrize(
    ("user", "role"),
    [
        ("agent-1", Role.FRAMEWORK),
        ("agent-1", Role.PERSON),
        ("f1", Role.AGENT),
        ("master", Role.PERSON),
        ("f1", Role.MASTER),
        ("f1", Role.BUILT_IN),
        ("ann", Role.WEB),
        ("ann", Role.ENROLL),
        ("enroll", Role.PERSON),
        ("enroll", Role.AGENT),
        ("batch", Role.FRAMEWORK),
        ("a.2", Role.FRAMEWORK),
        (".*", Role.PERSON),
    ],
)
def test_a_name_fits_its_role(user: str, role: Role) -> None:
    with pytest.raises(InvalidInput, match="user"):
        rights(Topology(), user, role, FRAMEWORKS)


def test_the_user_of_a_built_in_framework_has_its_id() -> None:
    assert role_of("batch", FRAMEWORKS) is Role.BUILT_IN and role_of("f1", FRAMEWORKS) is None
