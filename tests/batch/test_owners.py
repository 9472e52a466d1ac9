"""With a policy, a job belongs to the principal that has submitted it, and only some may change it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from broker_mesos.bus.requests import Requester
from broker_mesos.core.api.access import AccessPolicy, parse_policy
from broker_mesos.core.api.jobs import GetJob, GetJobs, JobFilter, KillJob, KillJobs, RetryJob, SubmitJob
from broker_mesos.core.api.request import Request
from broker_mesos.core.protocol import addresses
from broker_mesos.errors import Conflict, Denied
from broker_mesos.runtime.clock import new_id
from tests.batch.cluster import LIMIT, Cluster
from tests.batch.world import job

Ask = Callable[[str, Request], Awaitable[Any]]


class Access:
    daemons = ("batch",)
    problem = ""
    policy: AccessPolicy = parse_policy(
        {
            "principal": {
                "ann": {"actions": ["view", "submit", "kill:own"]},
                "bob": {"actions": ["view", "submit", "kill:own"], "task_users": ["eng"]},
                "admin": {"actions": ["view", "kill:any", "submit"]},
                "eve": {"actions": ["view"]},
            }
        }
    )


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Asks a batch worker as a user."""
    async with Cluster("cpus:0.001;mem:1") as cluster:
        await cluster.worker(access=Access())
        requesters: dict[str, Requester] = {}

        async def made(user: str, request: Request) -> Any:
            if user not in requesters:
                requesters[user] = Requester(await cluster.bus(user), cluster.clock, new_id)
            return await requesters[user].request(addresses.operator_framework("batch"), request, LIMIT)

        yield made
        for requester in requesters.values():
            await requester.close()


async def test_the_owner_is_who_has_submitted_it_and_not_who_its_client_states(ask: Ask) -> None:
    await ask("ann", SubmitJob(job_id="j1", spec=job(user="bob")))
    assert (await ask("eve", GetJob(job_id="j1"))).spec.user == "ann"
    assert [each.job_id for each in (await ask("eve", GetJobs(which=JobFilter(user="ann")))).jobs] == ["j1"]
    # A repeat of the same principal makes no second job, and the id is in use for everybody else.
    await ask("ann", SubmitJob(job_id="j1", spec=job(user="carl")))
    with pytest.raises(Conflict):
        await ask("bob", SubmitJob(job_id="j1", spec=job(user="ann")))


async def test_a_job_is_killed_and_retried_by_its_owner_or_by_who_may_kill_any(ask: Ask) -> None:
    await ask("ann", SubmitJob(job_id="j1", spec=job()))
    for request in (KillJob(job_id="j1"), RetryJob(job_id="j1")):
        with pytest.raises(Denied, match="the job belongs to 'ann'"):
            await ask("bob", request)
    with pytest.raises(Denied, match="'eve' has no right to kill "):
        await ask("eve", KillJob(job_id="j1"))
    assert (await ask("admin", GetJob(job_id="j1"))).summary.state == "pending"
    assert (await ask("ann", KillJob(job_id="j1"))).state == "killed"
    await ask("bob", SubmitJob(job_id="j2", spec=job()))
    assert (await ask("admin", KillJob(job_id="j2"))).state == "killed"


async def test_of_many_jobs_only_the_own_ones_are_killed(ask: Ask) -> None:
    for number, user in enumerate(("ann", "bob", "ann")):
        await ask(user, SubmitJob(job_id=f"j{number}", spec=job()))
    with pytest.raises(Denied, match="belongs to 'ann'"):
        await ask("bob", KillJobs(which=JobFilter(user="ann")))
    assert (await ask("bob", KillJobs(which=JobFilter()))).job_ids == ("j1",)
    assert set((await ask("admin", KillJobs(which=JobFilter()))).job_ids) == {"j0", "j2"}


async def test_who_may_not_submit_is_denied(ask: Ask) -> None:
    with pytest.raises(Denied, match="'eve' has no right to submit"):
        await ask("eve", SubmitJob(job_id="j1", spec=job()))


async def test_a_job_of_a_role_that_was_taken_away_is_not_run_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask("ann", SubmitJob(job_id="j1", spec=job(role="eng")))
    await ask("ann", KillJob(job_id="j1"))
    less = {"principal": {"ann": {"actions": ["view", "submit", "kill:own"], "roles": ["ops"]}}}
    monkeypatch.setattr(Access, "policy", parse_policy(less))
    with pytest.raises(Denied, match="'ann' has no right to submit for the role eng"):
        await ask("ann", RetryJob(job_id="j1"))


async def test_a_job_that_names_a_user_goes_to_agents_that_have_it(ask: Ask) -> None:
    spec = job()
    named = spec.model_copy(update={"command": spec.command.model_copy(update={"user": "eng"})})
    for _ in range(2):  # a repeat makes no second job
        await ask("bob", SubmitJob(job_id="j1", spec=named))
    (constraint,) = (await ask("eve", GetJob(job_id="j1"))).spec.constraints
    assert str(constraint) == "task-user.eng"
    with pytest.raises(Denied, match="'ann' has no right to submit tasks of the user eng"):
        await ask("ann", SubmitJob(job_id="j2", spec=named))


async def test_a_job_whose_user_was_taken_away_is_not_run_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job()
    named = spec.model_copy(update={"command": spec.command.model_copy(update={"user": "eng"})})
    await ask("bob", SubmitJob(job_id="j1", spec=named))
    await ask("bob", KillJob(job_id="j1"))
    less = {"principal": {"bob": {"actions": ["view", "submit", "kill:own"], "task_users": ["ops"]}}}
    monkeypatch.setattr(Access, "policy", parse_policy(less))
    with pytest.raises(Denied, match=r"'bob' has no right to submit tasks of the user eng \(RETRY_JOB\)"):
        await ask("bob", RetryJob(job_id="j1"))
