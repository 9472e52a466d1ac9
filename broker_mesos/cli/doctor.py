"""``bmesos doctor``: reports the problems of a cluster, with advice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from broker_mesos.cli import show
from broker_mesos.cli.declare import Option
from broker_mesos.cli.options import Call
from broker_mesos.errors import BrokerMesosError, Unavailable

if TYPE_CHECKING:
    from broker_mesos.client import Client
    from broker_mesos.core.api.findings import Finding
    from broker_mesos.runtime.settings import Settings

UNREACHABLE = 4
ANSWER_SECONDS = 2.0
"""Seconds that each question to the cluster, and each attempt at a server, may take."""


def doctor(
    call: Call,
    story: Annotated[
        str,
        Option(
            "--story",
            metavar="ID",
            help="Show the latest decisions about a task, an agent, a framework or an offer instead.",
            show_default=False,
        ),
    ] = "",
    limit: Annotated[
        int, Option("--limit", min=1, max=500, metavar="N", help="With --story: show the latest N decisions.")
    ] = 50,
) -> int:
    """Look for what is wrong with the cluster and its servers.

    Asks the masters; where BMESOS_BROKER_URL and BMESOS_STORE_URL are set, it also tries these from here.
    Ends with 0 if there is no error, with 1 if there is one, and with 4 if nobody answers.
    """
    if story:
        from broker_mesos.cli.story import print_story

        print_story(call, story, limit)
        return 0
    from concurrent.futures import ThreadPoolExecutor

    from broker_mesos.core.api.findings import Finding, worst
    from broker_mesos.runtime.settings import load

    settings = load(url=call.url, cluster=call.cluster, **call.security)
    direct = settings.broker_url is not None or settings.store_url is not None
    # At the same time as the questions to the cluster: whatever is wrong, each of the two takes its whole time.
    tried = ThreadPoolExecutor(1).submit(_try_servers, settings) if direct else None
    unreachable: Unavailable | None = None
    findings: list[Finding] = []
    try:
        findings = [*_ask(call.client()), *_web_certificate(settings)]
    except Unavailable as error:
        if not direct:
            raise
        unreachable = error
        findings = [
            Finding(
                level="error",
                subject="operator API",
                found=str(error),
                advice="see whether a master (and `bmesos web`) runs",
            )
        ]
    if tried is not None:
        findings += tried.result()
    if call.json:
        show.print_json({"worst": worst(findings), "findings": [show.data(each) for each in findings]})
    else:
        show.table(
            ["STATE", "WHAT", "FOUND", "WHAT TO DO"],
            [(each.level, each.subject, each.found, each.advice or "-") for each in findings],
            drop=(),
        )
    if unreachable is not None:
        return UNREACHABLE
    return 1 if worst(findings) == "error" else 0


def _ask(client: Client) -> list[Finding]:
    from broker_mesos.core.api.cluster import ClusterView, GetCluster
    from broker_mesos.core.api.findings import Finding
    from broker_mesos.core.api.health import GetHealth, HealthView
    from broker_mesos.core.api.state import GetState, StateView
    from broker_mesos.operator.doctor import find_problems

    before = time.time()
    health = client.ask(GetHealth(), HealthView, ANSWER_SECONDS)
    asked = before, time.time()
    failed: list[Finding] = []
    cluster, state = None, None
    try:
        cluster = client.ask(GetCluster(), ClusterView, ANSWER_SECONDS)
        state = client.ask(GetState(parts=("agents", "frameworks"), limit=2_000), StateView, ANSWER_SECONDS)
    except BrokerMesosError as error:
        failed = [Finding(level="error", subject="operator API", found=str(error), advice="see what follows")]
    answered = Finding(level="ok", subject="operator API", found=f"answers within {asked[1] - before:.2f} s")
    return [answered, *failed, *find_problems(health, cluster, state, asked)]


def _web_certificate(settings: Settings) -> list[Finding]:
    """The findings about the certificate of `bmesos web`, which its clients alone can see."""
    from urllib.parse import urlsplit

    from broker_mesos.operator.doctor import check_certificates
    from broker_mesos.runtime.tls import certificates
    from broker_mesos.runtime.urls import endpoint

    parts = urlsplit(settings.client_url())
    if parts.scheme != "https":
        return []
    name = f"the operator API at {endpoint(settings.client_url())}"
    found = certificates(settings.tls_files(), parts.hostname or "", parts.port or 443, name)
    return list(check_certificates(found, "operator API"))


def _try_servers(settings: Settings) -> list[Finding]:
    import asyncio

    from broker_mesos.operator.doctor import check_bus, check_store
    from broker_mesos.wiring.trial import try_servers

    broker, store = asyncio.run(try_servers(settings))
    findings: list[Finding] = []
    if broker is not None:
        findings += check_bus(broker, "broker, from here")
    if store is not None:
        findings += check_store(store, "store, from here")
    return findings
