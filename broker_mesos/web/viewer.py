"""One stream of live updates to a browser: the frames that wait for it, as text of server-sent events."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import deque
from collections.abc import Collection

from broker_mesos.core.api.stream_ids import id_key

MAX_WAITING = 256
"""Maximum number of frames that wait for a slow reader; one more, and it is told to begin anew."""
MAX_FRAME = 64 * 1024
"""Maximum size of a frame, in bytes; what is larger is not sent, and the reader fetches it."""

TOPICS = ("agents", "overview", "events", "jobs")


GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""The beginning of a compressed stream; ``packed`` texts follow."""


def packed(text: bytes) -> bytes:
    """A text as a part of any compressed stream: it refers to nothing before it, so that it is compressed once for all
    of its readers."""
    made = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return made.compress(text) + made.flush(zlib.Z_FULL_FLUSH)


class Frame:
    """A frame. A later one with the same ``key`` replaces it while it waits, unless the key is empty."""

    __slots__ = ("_packed", "event_id", "key", "text")

    def __init__(self, text: bytes, key: str = "", event_id: str = "") -> None:
        self.text = text
        self.key = key
        self.event_id = event_id
        self._packed = b""

    @property
    def packed(self) -> bytes:
        """The text, compressed."""
        self._packed = self._packed or packed(self.text)
        return self._packed


def frame(kind: str, data: str, *, key: str = "", event_id: str = "") -> Frame:
    """A frame with JSON in one line."""
    ident = f"id: {event_id}\n" if event_id else ""
    return Frame(f"event: {kind}\n{ident}data: {data}\n\n".encode(), key, event_id)


def resync(reason: str) -> Frame:
    """The frame that tells a reader to fetch everything anew."""
    return frame("resync", json.dumps({"reason": reason}))


class Viewer:
    """The frames that wait for one reader."""

    def __init__(self, topics: Collection[str], *, compressed: bool = False) -> None:
        """``compressed``: the reader gets ``packed`` texts."""
        self.topics = frozenset(topics)
        self.compressed = compressed
        self._frames: deque[Frame] = deque()
        self._some = asyncio.Event()
        self.ending = False
        """Whether the stream ends once its frames are sent."""
        self.must_be_checked = False
        """Whether it is to be checked at once that the reader may read on."""

    def wants(self, topic: str) -> bool:
        """Whether the reader has asked for a topic. Of jobs, ``jobs`` stands for all and ``job:ID`` for one."""
        return topic in self.topics

    def put(self, new: Frame) -> None:
        """Add a frame. A reader that is too slow loses what waits for it, and is told so."""
        if len(new.text) > MAX_FRAME:
            new = resync("an update is too large to be sent")
        if new.key:
            for at, each in enumerate(self._frames):
                if each.key == new.key:
                    self._frames[at] = new
                    return
        if len(self._frames) >= MAX_WAITING:
            last = next((each.event_id for each in reversed(self._frames) if each.event_id), "")
            self._frames.clear()
            lost = resync("this reader is too slow: updates were left out")
            self._frames.append(Frame((f"id: {last}\n".encode() if last else b"") + lost.text))
        self._frames.append(new)
        self._some.set()

    def drop_events(self, until: str) -> None:
        """Drop waiting events up to an id, since the reader has them."""
        reached = id_key(until)
        kept = [each for each in self._frames if not each.event_id or id_key(each.event_id) > reached]
        self._frames = deque(kept)

    def end(self, reason: str, *, at_once: bool = False) -> None:
        """Say goodbye, and end the stream; ``at_once``: without what waits for the reader, which may not have it."""
        if at_once:
            self._frames.clear()
        self.put(frame("bye", json.dumps({"reason": reason})))
        self.ending = True
        self._some.set()

    def check(self) -> None:
        """Have it checked at once whether the reader may read on."""
        self.must_be_checked = True
        self._some.set()

    async def wait(self) -> None:
        """Wait until there is a frame, or something to check."""
        if not self._frames and not self.ending and not self.must_be_checked:
            self._some.clear()
            await self._some.wait()

    def take(self) -> bytes:
        """The first frames as one text of at most MAX_FRAME bytes before compression; empty if there is none."""
        parts: list[bytes] = []
        size = 0
        while self._frames and size + len(self._frames[0].text) <= MAX_FRAME:
            first = self._frames.popleft()
            size += len(first.text)
            parts.append(first.packed if self.compressed else first.text)
        return b"".join(parts)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be sent."""
        return self.ending and not self._frames
