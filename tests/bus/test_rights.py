"""The rights that the topology leads to, as they were reviewed: golden files, which a change of either changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker_mesos.bus.rights import Role, definitions, password_hash, rights, role_of
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
    }
    made = definitions(
        Topology(), {name: (role, password_hash(name, SALT)) for name, role in users.items()}, FRAMEWORKS
    )
    assert json.dumps(made, indent=2) + "\n" == (GOLDEN / "definitions.json").read_text()


def test_a_password_has_the_form_that_rabbitmq_documents() -> None:
    """The example of its documentation on passwords."""
    assert password_hash("test12", SALT) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.MASTER])
def test_a_user_has_patterns_of_keys_for_every_topic_exchange_that_it_uses(role: Role) -> None:
    """RabbitMQ allows every key of an exchange without patterns."""
    user = {Role.AGENT: "agent-1", Role.FRAMEWORK: "f1", Role.PERSON: "ann", Role.BUILT_IN: "batch"}.get(
        role, role.value
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
