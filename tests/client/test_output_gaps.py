"""Output that was cut out is passed over, and the reader is told of it once."""

from __future__ import annotations

from base64 import b64encode

import pytest

from broker_mesos.client.jobs import JobClient
from broker_mesos.containerizer.process.output_limits import CUT

SIZE = 1_000


def reader(monkeypatch: pytest.MonkeyPatch, parts: dict[int, bytes], jumps: dict[int, int]) -> JobClient:
    """A client of an agent that has parts of a file by their offsets, and answers some offsets from others."""
    client = JobClient("http://127.0.0.1:1")

    def call(name: str, fields: dict[str, object], held: float = 0.0) -> dict[str, object]:
        assert name == "READ_LOG" and isinstance(fields["offset"], int)
        offset = jumps.get(fields["offset"], fields["offset"])
        data = parts.get(offset, b"")
        ended = offset + len(data) >= SIZE
        answer = {"task_id": "t1", "agent_id": "a1", "offset": offset, "size": SIZE, "ended": ended}
        return answer | {"data": b64encode(data).decode()}

    monkeypatch.setattr(client, "call", call)
    return client


def test_a_reader_from_the_start_sees_the_line_of_the_agent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"head" + CUT % b"2 MB"
    client = reader(monkeypatch, {0: head, 900: b"x" * 100}, {len(head): 900})
    assert b"".join(client.read("t1")) == head + b"x" * 100


def test_a_follower_whose_place_was_cut_out_gets_one_line_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    client = reader(monkeypatch, {0: b"early\n", 900: b"x" * 50, 950: b"y" * 50}, {6: 900})
    text = b"".join(client.read("t1", follow=True))
    gap = b"\n[bmesos: 894 bytes of output were dropped here: the output exceeded its limit]\n"
    assert text == b"early\n" + gap + b"x" * 50 + b"y" * 50


def test_a_follower_of_a_file_that_was_truncated_goes_on_from_its_new_end(monkeypatch: pytest.MonkeyPatch) -> None:
    client = reader(monkeypatch, {0: b"z" * 995, 990: b"after head"}, {995: 990})
    text = b"".join(client.read("t1", follow=True))
    gap = b"\n[bmesos: output was dropped here: the output exceeded its limit]\n"
    assert text == b"z" * 995 + gap + b"after head"
