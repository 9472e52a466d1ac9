"""``GET /api/v1/stream``: live updates as server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import FastAPI, Header, Query
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response, StreamingResponse

from broker_mesos.bus.caller import Access, audit
from broker_mesos.bus.current_caller import current
from broker_mesos.core.api.access import Caller
from broker_mesos.core.api.events import EventList, GetEvents
from broker_mesos.core.api.request import Right
from broker_mesos.core.api.stream_ids import PATTERN
from broker_mesos.core.model.part import is_ident
from broker_mesos.errors import BrokerMesosError, Denied, InvalidInput
from broker_mesos.operator.gateway import OperatorApi
from broker_mesos.runtime.timeouts import within
from broker_mesos.web.authentication import VALID
from broker_mesos.web.live import FIRST, LiveModel
from broker_mesos.web.viewer import GZIP_HEADER, TOPICS, Viewer, frame, packed, resync

PAUSE_SECONDS = 0.25
"""Minimum time between two frames of a stream, in seconds."""
COMMENT_SECONDS = 15.0
"""Time after which a comment is sent on a silent stream, in seconds, so that no proxy closes it."""
CHECK_SECONDS = 5.0
"""Time between two checks whether the reader may read on, in seconds, beside those after a change of the policy."""
MAX_STREAM_SECONDS = 600.0
"""Time after which a stream ends, in seconds: its reader connects again, and has to show its token again."""
MAX_TOPICS = 20
MAX_MISSED = 20_000
"""Maximum number of events that a reader is sent which it has missed; one that has missed more begins anew."""
RETRY_SECONDS = 5

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}


def add_stream(app: FastAPI, gateway: OperatorApi, live: LiveModel, access: Access | None) -> None:
    """Add the path to an application. ``gateway`` answers for the principal of a request; with ``access`` a stream ends
    when its principal may not see the cluster any more, or when its token has ended."""

    @app.get("/api/v1/stream", response_class=StreamingResponse, summary="Live updates as server-sent events")
    async def stream(
        http: HttpRequest,
        topics: Annotated[str, Query(max_length=2_000, description="with commas: agents, overview, job:ID")] = "events",
        last_event_id: Annotated[str | None, Header()] = None,
        last: Annotated[str | None, Query(alias="last_event_id", description="as the header Last-Event-ID")] = None,
        accept_encoding: Annotated[str, Header()] = "",
    ) -> Response:
        chosen = _topics(topics)
        missed = last_event_id or last or ""
        if not re.fullmatch(PATTERN, missed):
            raise InvalidInput("Last-Event-ID is not the id of an event: leave it out to begin anew")
        caller = current()
        if caller is not None:
            _check(caller)
        if live.full:
            text = "this server has too many streams, or is about to end: try again"
            error = {"error": {"code": "unavailable", "message": text}}
            return JSONResponse(error, 503, headers={"retry-after": str(RETRY_SECONDS)})

        valid: Callable[[], bool] = http.scope.get(VALID, lambda: True)

        def ended() -> str:
            if access is None or caller is None:
                return ""
            if not valid():
                return "the token or the session has ended: sign in again"
            if not access.policy.caller(caller.name).rights.may(Right.VIEW):
                return "you have no right to see this any more"
            return ""

        viewer = Viewer(chosen, compressed="gzip" in accept_encoding)
        reader = _frames(gateway, live, viewer, missed, ended)
        headers = _HEADERS | {"content-encoding": "gzip"} if viewer.compressed else _HEADERS
        return StreamingResponse(reader, media_type="text/event-stream", headers=headers)


def _check(caller: Caller) -> None:
    """Check that a principal may see the cluster. Raises Denied, which is in the audit log as that of a request."""
    request = GetEvents()
    try:
        caller.check(request)
    except Denied as error:
        audit(caller, request, error)
        raise


def _topics(text: str) -> set[str]:
    chosen = set(filter(None, (each.strip() for each in text.split(","))))
    for each in chosen:
        if each not in TOPICS and not (each.startswith("job:") and is_ident(each.removeprefix("job:"))):
            raise InvalidInput(f"topics: {each[:80]!r} is none; there are {', '.join(TOPICS)} and job:ID")
    if not 0 < len(chosen) <= MAX_TOPICS:
        raise InvalidInput(f"topics: give 1 to {MAX_TOPICS} of {', '.join(TOPICS)} and job:ID")
    return chosen


async def _frames(
    gateway: OperatorApi, live: LiveModel, viewer: Viewer, missed: str, ended: Callable[[], str]
) -> AsyncIterator[bytes]:
    """``ended`` returns why the reader may not read on; empty if it may."""
    loop = asyncio.get_running_loop()
    end, check_at = loop.time() + MAX_STREAM_SECONDS, loop.time() + CHECK_SECONDS
    encode = packed if viewer.compressed else bytes
    with live.watching(viewer):
        position = await live.position()
        # It has data, so that a script of the page learns the id: who asks for other topics goes on behind it.
        begin = frame("begin", "{}", event_id=missed or position).text
        yield (GZIP_HEADER if viewer.compressed else b"") + encode(b"retry: 1000\n" + begin)
        if missed and viewer.wants("events"):
            async for text in _missed(gateway, viewer, missed):
                yield encode(text)
        while not viewer.ended:
            try:
                async with within(COMMENT_SECONDS):
                    await viewer.wait()
            except TimeoutError:
                yield encode(b": nothing new\n\n")
            if not viewer.ending and loop.time() > end:
                viewer.end("the stream is old: connect again")
            if not viewer.ending and (viewer.must_be_checked or loop.time() >= check_at):
                viewer.must_be_checked, check_at = False, loop.time() + CHECK_SECONDS
                if reason := ended():
                    viewer.end(reason, at_once=True)
            if text := viewer.take():
                yield text
                if not viewer.ending:
                    await asyncio.sleep(PAUSE_SECONDS)


async def _missed(gateway: OperatorApi, viewer: Viewer, after: str) -> AsyncIterator[bytes]:
    """The events behind an id. What the viewer gets meanwhile begins at an earlier one."""
    count, more = 0, True
    while more:
        try:
            found = await gateway.handle(GetEvents(after=after or FIRST, limit=200))
        except BrokerMesosError:
            yield resync("missed events cannot be read").text
            return
        assert isinstance(found, EventList)
        count += len(found.events)
        if found.lost or count > MAX_MISSED:
            yield resync("events were missed that are not kept any more").text
        for event in found.events:
            yield frame("event", event.model_dump_json(), event_id=event.id).text
        after, more = found.last or after, found.more and count <= MAX_MISSED
    viewer.drop_events(after)
