"""An access policy: what its file may contain, and what it allows."""

from __future__ import annotations

import tomllib

import pytest

from broker_mesos.core.api.access import ACTIONS, AccessPolicy, parse_policy, token_digest
from broker_mesos.core.api.cells import KillTask
from broker_mesos.core.api.cluster import GetCluster, Hello
from broker_mesos.core.api.jobs import KillJob, SubmitJob
from broker_mesos.core.api.request import Request, Right
from broker_mesos.core.api.reservations import ReserveResources
from broker_mesos.core.api.roles import SetRoles
from broker_mesos.core.api.whoami import WhoAmI
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.task import CommandInfo
from broker_mesos.errors import Denied, InvalidInput

TOKEN = "bm1_k3t9aaaa_" + "x" * 43
FILE = f"""
[principal.ann]
actions = ["view", "submit", "kill:own", "holdings"]
roles = ["eng/*", "ops"]
task_users = ["eng"]
tokens = [{{id = "k3t9aaaa", sha256 = "{token_digest(TOKEN)}", expires = 2030-01-01T00:00:00Z}}]

[principal.admin]
actions = {list(ACTIONS)}
task_users = ["*"]

[default]
actions = ["view"]
"""
END = 1_893_456_000.0


@pytest.fixture
def policy() -> AccessPolicy:
    return parse_policy(tomllib.loads(FILE))


def submit(role: str, user: str = "") -> SubmitJob:
    return SubmitJob(job_id="j", spec=JobSpec(command=CommandInfo(arguments=("true",), user=user), role=role))


def test_a_principal_may_do_what_it_was_given(policy: AccessPolicy) -> None:
    ann = policy.caller("ann")
    for request in (GetCluster(), submit("eng/db"), submit("ops", "eng"), KillJob(job_id="j"), Hello(), WhoAmI()):
        ann.check(request)
    policy.caller("admin").check(submit("*"))
    policy.caller("admin").check(submit("*", "root"))
    policy.caller("admin").check(SetRoles(roles={}))


@pytest.mark.parametrize(
    ("name", "request_", "words"),
    [
        ("ann", SetRoles(roles={}), "'ann' has no right to roles (SET_ROLES)"),
        ("ann", submit("*"), "'ann' has no right to submit for the role * (SUBMIT_JOB)"),
        ("ann", submit("eng"), "for the role eng "),
        ("ann", submit("engine/x"), "for the role engine/x "),
        ("ann", submit("ops", "root"), "'ann' has no right to submit tasks of the user root (SUBMIT_JOB)"),
        ("ann", submit("ops", "ops"), "tasks of the user ops "),
        ("ann", submit("ops/x"), "for the role ops/x "),
        ("ann", ReserveResources(agent_id="a", role="hr", resources="cpus:1"), "holdings for the role hr "),
        ("ann", KillTask(task_id="t"), "'ann' has no right to kill:any (KILL_TASK)"),
        ("bob", submit("*"), "'bob' has no right to submit (SUBMIT_JOB)"),
        ("", KillJob(job_id="j"), "'nobody' has no right to kill (KILL_JOB)"),
    ],
)
def test_what_it_was_not_given_is_denied_with_action_and_principal(
    policy: AccessPolicy, name: str, request_: Request, words: str
) -> None:
    with pytest.raises(Denied) as caught:
        policy.caller(name).check(request_)
    assert words in str(caught.value)


def test_a_job_is_changed_by_its_owner_or_by_who_may_kill_any(policy: AccessPolicy) -> None:
    kill = KillJob(job_id="j")
    policy.caller("ann").check_owner("ann", kill)
    policy.caller("admin").check_owner("ann", kill)
    for owner in ("bob", ""):
        with pytest.raises(Denied, match="'ann' has no right to kill:any"):
            policy.caller("ann").check_owner(owner, kill)


JOIN = "bj1_w7q2aaaa_" + "y" * 43


def test_a_join_token_admits_agents_until_it_ends_and_nobody_else() -> None:
    row = f'{{id = "w7q2aaaa", sha256 = "{token_digest(JOIN)}", expires = 2030-01-01T00:00:00Z}}'
    policy = parse_policy(tomllib.loads(f"{FILE}\n[join]\ntokens = [{row}]"))
    assert policy.admit(JOIN, END - 1) == "w7q2aaaa"
    with pytest.raises(Denied, match="the join token w7q2aaaa has ended"):
        policy.admit(JOIN, END)
    wrong = (JOIN[:-1] + "z", JOIN + "y", "", TOKEN, JOIN.replace("bj1", "bm1"), "bj1_w7q2aaaa_", "ä" * 56)
    for token in wrong:
        with pytest.raises(Denied, match="not known"):
            policy.admit(token, END - 1)
    with pytest.raises(Denied, match="not known"):
        policy.authenticate(JOIN, END - 1)
    with pytest.raises(Denied, match="not known"):
        parse_policy(tomllib.loads(FILE)).admit(JOIN, END - 1)
    with pytest.raises(InvalidInput, match="two tokens have the id w7q2aaaa"):
        parse_policy(tomllib.loads(f"[join]\ntokens = [{row}, {row}]"))


def test_without_an_entry_for_everybody_else_nothing_is_allowed() -> None:
    with pytest.raises(Denied):
        parse_policy({}).caller("ann").check(GetCluster())


def test_a_token_shows_its_principal_until_it_ends(policy: AccessPolicy) -> None:
    assert policy.authenticate(TOKEN, END - 1) == "ann"
    with pytest.raises(Denied, match="the token k3t9aaaa of 'ann' has ended"):
        policy.authenticate(TOKEN, END)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "ann",
        TOKEN[:-1] + "y",
        TOKEN[:-1],
        TOKEN + "\n",
        f" {TOKEN}",
        TOKEN.replace("k3t9", "k3t8"),
        token_digest(TOKEN),
        f"bm1_k3t9aaaa_{token_digest(TOKEN)[:43]}",
        "bm1_k3t9aaaa_" + "é" * 43,
    ],
)
def test_a_wrong_token_shows_nobody_and_names_nobody(policy: AccessPolicy, token: str) -> None:
    with pytest.raises(Denied) as caught:
        policy.authenticate(token, 0.0)
    assert "not known" in str(caught.value) and "ann" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[principal.ann]\nactions = ["fly"]', "principal.ann.actions: there is no action 'fly'; there are view, "),
        ('[principal.ann]\nactions = ["kill"]', "there is no action 'kill'"),
        ('[principal.ann]\naction = ["view"]', "principal.ann.action: there is no such key"),
        ('[principals.ann]\nactions = ["view"]', "principals: there is no such key"),
        ('[principal.ann]\nactions = "view"', "principal.ann.actions: write a list"),
        ('[principal.ann]\nroles = ["/*"]', "principal.ann.roles: "),
        ('[principal.ann]\ntask_users = ["a b"]', "principal.ann.task_users: 'a b' is not the name of a user"),
        ('[principal.ann]\ntask_users = [""]', "principal.ann.task_users: an empty name is no user"),
        ('[principal."a.b"]\nactions = []', "user 'a.b': use 1 to 100 letters"),
        ('[principal.ann]\ntokens = ["sha256:1"]', "principal.ann.tokens.0: write a table"),
        (FILE.replace("00Z", "00"), "principal.ann.tokens.0.expires: write the time with its zone"),
        (FILE.replace("2030-01-01T00:00:00Z", "2030-01-01"), "expires: write the time with its zone"),
        (FILE.replace("[principal.admin]", FILE.split("\n")[5].join(["[principal.admin]\n", ""])), "two tokens"),
        (
            '[default]\ntokens = [{id = "k3t9aaaa", sha256 = "' + "0" * 64 + '", expires = 2030-01-01T00:00:00Z}]',
            "default: it is for who has no token",
        ),
    ],
)
def test_a_wrong_file_is_named_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_policy(tomllib.loads(text))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_there_is_an_action_for_every_right() -> None:
    assert len(set(ACTIONS)) == len(ACTIONS)
    assert set(ACTIONS) == ({right.value for right in Right} - {"kill", "exec"}) | {"kill:own", "exec:own", "exec:any"}
