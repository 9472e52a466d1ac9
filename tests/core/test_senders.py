"""Which user may send which message: the table has every type, and a wrong sender is refused with both names."""

from __future__ import annotations

import pytest

from broker_mesos.core.api.catalog import REQUESTS as OPERATOR_REQUESTS
from broker_mesos.core.api.cluster import Hello
from broker_mesos.core.api.exec import AgentExec, PassExec
from broker_mesos.core.api.files import ReadFile
from broker_mesos.core.api.roles import SetRoles
from broker_mesos.core.model.agent import AgentInfo, AgentList
from broker_mesos.core.model.framework import FrameworkInfo
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import TaskState
from broker_mesos.core.protocol.addresses import Exchange
from broker_mesos.core.protocol.agent_messages import (
    AgentHeartbeat,
    AgentListed,
    KillTasks,
    RegisterAgent,
    UnregisterAgent,
    UpdateStatuses,
)
from broker_mesos.core.protocol.cell_messages import Ping
from broker_mesos.core.protocol.events import EarlyStatuses, Error, Offers
from broker_mesos.core.protocol.framework_messages import (
    FrameworkAbsent,
    FrameworkHeartbeat,
    Kill,
    Subscribe,
    Teardown,
)
from broker_mesos.core.protocol.registry import MESSAGE_MODULES
from broker_mesos.core.protocol.senders import REQUESTS, RULES, check_sender
from broker_mesos.core.protocol.users import check_user
from broker_mesos.core.protocol.wire import REGISTRY, Message
from broker_mesos.errors import InvalidInput, WrongSender

STATUS = TaskStatus(task_id="t1", state=TaskState.FINISHED, agent_id="agent-1")
REGISTRATION = RegisterAgent(
    agent=AgentInfo(agent_id="agent-1", resources=Resources.parse("cpus:1")), attempt="1.1", cells=1
)
INFO = FrameworkInfo(framework_id="f1")


def check(message: Message, exchange: Exchange | None, user: str) -> None:
    check_sender(message, exchange, user, RULES.get(message.TYPE, REQUESTS))


RIGHT = [
    (REGISTRATION, Exchange.UPDATES, "agent-1"),
    (AgentListed(agent_id="agent-1", session="s", list=AgentList()), Exchange.UPDATES, "agent-1"),
    (UpdateStatuses(agent_id="agent-1", session="s", statuses=(STATUS,)), Exchange.UPDATES, "agent-1"),
    (AgentHeartbeat(agent_id="agent-1", session="s"), Exchange.HEARTBEATS, "agent-1"),
    (EarlyStatuses(statuses=(STATUS,)), Exchange.OFFERS, "agent-1"),
    (Subscribe(framework_id="f1", framework=INFO), Exchange.CALLS, "f1"),
    (FrameworkHeartbeat(framework_id="f1", framework=INFO), Exchange.HEARTBEATS, "f1"),
    (Kill(framework_id="f1", task_ids=("t1",)), Exchange.CALLS, "f1"),
    (Teardown(framework_id="f1"), Exchange.CALLS, "f1"),
    (Teardown(framework_id="f1"), Exchange.CALLS, "master"),
    (FrameworkAbsent(framework_id="f1", framework=INFO), Exchange.CALLS, "master"),
    (KillTasks(session="s", number=1, task_ids=("t1",)), Exchange.COMMANDS, "master"),
    (Offers(offers=()), Exchange.OFFERS, "master"),
    (Error(message="no"), Exchange.EVENTS, "master"),
    (Ping(), Exchange.UPDATES, "master"),
    (Ping(), Exchange.UPDATES, "agent-1"),
    (Hello(agent_id="agent-1"), Exchange.OPERATOR, "agent-1"),
    (Hello(), Exchange.OPERATOR, "f1"),
    (SetRoles(roles={}), Exchange.OPERATOR, "web"),
    (SetRoles(roles={}), Exchange.OPERATOR, "ann"),
    (ReadFile(task_id="t1"), Exchange.OPERATOR, "web"),
    (AgentExec(), Exchange.OPERATOR, "web"),
    (AgentExec(), Exchange.OPERATOR, "master"),
    (PassExec(agent_id="agent-1"), Exchange.OPERATOR, "ann"),
]


@pytest.mark.parametrize(("message", "exchange", "user"), RIGHT, ids=lambda each: getattr(each, "TYPE", str(each)))
def test_the_right_sender_may(message: Message, exchange: Exchange, user: str) -> None:
    check(message, exchange, user)
    for other in [None, *set(Exchange) - RULES.get(message.TYPE, REQUESTS).exchanges]:
        with pytest.raises(WrongSender, match="wrong exchange"):
            check(message, other, user)
    with pytest.raises(WrongSender, match="no sender"):
        check(message, exchange, "")


NAMELESS = STATUS.model_copy(update={"agent_id": ""})
WRONG = [
    (UpdateStatuses(agent_id="agent-2", session="s", statuses=(NAMELESS,)), Exchange.UPDATES, "agent-2", "of nobody"),
    (EarlyStatuses(statuses=(NAMELESS,)), Exchange.OFFERS, "agent-2", "of nobody came from 'agent-2'"),
    (
        AgentListed(agent_id="agent-2", session="s", list=AgentList(outcomes=(STATUS,))),
        Exchange.UPDATES,
        "agent-2",
        "of 'agent-1'",
    ),
    (
        UnregisterAgent(agent_id="agent-2", session="s", list=AgentList(outcomes=(STATUS,))),
        Exchange.UPDATES,
        "agent-2",
        "of 'agent-1'",
    ),
    (
        REGISTRATION.model_copy(update={"list": AgentList(outcomes=(NAMELESS,))}),
        Exchange.UPDATES,
        "agent-1",
        "of nobody",
    ),
    (REGISTRATION, Exchange.UPDATES, "agent-2", "'agent-1' came from 'agent-2'"),
    (REGISTRATION, Exchange.UPDATES, "f1", "only an agent"),
    (REGISTRATION, Exchange.UPDATES, "master", "only an agent"),
    (UpdateStatuses(agent_id="agent-1", session="s", statuses=()), Exchange.UPDATES, "agent-2", "'agent-2'"),
    (UpdateStatuses(agent_id="agent-2", session="s", statuses=(STATUS,)), Exchange.UPDATES, "agent-2", "'agent-1'"),
    (EarlyStatuses(statuses=(STATUS,)), Exchange.OFFERS, "agent-2", "'agent-1' came from 'agent-2'"),
    (AgentHeartbeat(agent_id="agent-1", session="s"), Exchange.HEARTBEATS, "agent-2", "'agent-2'"),
    (Kill(framework_id="f1", task_ids=("t1",)), Exchange.CALLS, "f2", "'f1' came from 'f2'"),
    (Kill(framework_id="agent-1", task_ids=("t1",)), Exchange.CALLS, "agent-1", "only a framework"),
    (Subscribe(framework_id="f1", framework=INFO), Exchange.CALLS, "f2", "'f1' came from 'f2'"),
    (Teardown(framework_id="f1"), Exchange.CALLS, "web", "may send it"),
    (FrameworkAbsent(framework_id="f1", framework=INFO), Exchange.CALLS, "f1", "only a master"),
    (KillTasks(session="s", number=1, task_ids=("t1",)), Exchange.COMMANDS, "agent-2", "only a master"),
    (Offers(offers=()), Exchange.OFFERS, "agent-1", "only a master"),
    (Error(message="no"), Exchange.EVENTS, "f2", "only a master"),
    (Ping(), Exchange.UPDATES, "f1", "may send it"),
    (Hello(agent_id="agent-1"), Exchange.OPERATOR, "agent-2", "'agent-1' came from 'agent-2'"),
    (SetRoles(roles={}), Exchange.OPERATOR, "agent-1", "may send it"),
    (ReadFile(task_id="t1"), Exchange.OPERATOR, "ann", "may send it"),
    (AgentExec(), Exchange.OPERATOR, "ann", "may send it"),
    (AgentExec(), Exchange.OPERATOR, "batch", "may send it"),
    (AgentExec(), Exchange.OPERATOR, "agent-1", "may send it"),
    (PassExec(agent_id="agent-1"), Exchange.OPERATOR, "agent-1", "may send it"),
]


@pytest.mark.parametrize(
    ("message", "exchange", "user", "reason"), WRONG, ids=lambda each: getattr(each, "TYPE", str(each))
)
def test_a_wrong_sender_may_not(message: Message, exchange: Exchange, user: str, reason: str) -> None:
    with pytest.raises(WrongSender, match=reason) as caught:
        check(message, exchange, user)
    assert message.TYPE in str(caught.value) and user in str(caught.value)


def test_every_message_has_a_rule() -> None:
    modules = {module.__name__ for module in MESSAGE_MODULES}
    types = {name for name, kind in REGISTRY.items() if kind.__module__ in modules}
    assert types and types == RULES.keys() - OPERATOR_REQUESTS.keys()


@pytest.mark.parametrize("name", ["a.2", "a b", "", "ann@home", "x" * 101, "ä", "a\n"])
def test_a_name_that_a_pattern_would_match_otherwise_is_no_user(name: str) -> None:
    with pytest.raises(InvalidInput, match="no dot"):
        check_user(name)
    assert check_user("agent-2_x") == "agent-2_x"
