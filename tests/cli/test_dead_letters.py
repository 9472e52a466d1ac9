"""`bmesos dead-letters` on an embedded cluster, over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from broker_mesos.bus.dead_letters import letter, park
from broker_mesos.cli import main
from broker_mesos.core.protocol.addresses import Queue, QueueKind
from broker_mesos.ports.bus import Bus, Delivery
from tests.cli.embedded import Embedded, embedded

Captured = pytest.CaptureFixture[str]
INBOX = Queue(QueueKind.CELL_INBOX, "0")


@pytest.fixture(scope="module")
def running() -> Iterator[Embedded]:
    with embedded() as made:
        yield made


@pytest.fixture
def cluster(running: Embedded, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    for name in list(os.environ):
        if name.upper().startswith("BMESOS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BMESOS_URL", running.url)
    main(["dead-letters", "drop", "--all"])
    return running


def put(cluster: Embedded, ident: str, source: Queue = INBOX, body: bytes = b'{"a": [1]}') -> None:
    async def work(bus: Bus) -> None:
        delivery = Delivery("PING", body, f"m-{ident}", 1)
        await park(bus, letter(delivery, source, "it \x1b[31mfailed", tries=3, letter_id=ident, now=1000.0))

    cluster.do(work)


def test_letters_are_listed_as_a_table_and_as_json(cluster: Embedded, capsys: Captured) -> None:
    capsys.readouterr()
    assert main(["dead-letters", "list"]) == 0
    assert "no dead letters" in capsys.readouterr().out
    put(cluster, "l1")
    put(cluster, "l2")
    assert main(["dead-letters", "list", "--limit", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["ID", "TYPE", "FROM", "TRIES", "BYTES", "PUT", "REASON"]
    assert "l1" in out and "cell-inbox.0" in out and "\x1b" not in out
    assert err.strip() == "… and 1 more: use --limit N, or --after l1"
    assert main(["dead-letters", "list", "--after", "l1"]) == 0
    out, err = capsys.readouterr()
    assert "l2" in out and "l1" not in out and err == ""
    assert main(["-o", "json", "dead-letters", "list"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["letter_id"] for each in found] == ["l1", "l2"]


def test_the_last_letter_of_a_list_in_json_is_where_the_next_page_begins(cluster: Embedded, capsys: Captured) -> None:
    put(cluster, "l1")
    put(cluster, "l2")
    capsys.readouterr()
    assert main(["dead-letters", "list", "--limit", "1", "-o", "json"]) == 0
    out, err = capsys.readouterr()
    (first,) = json.loads(out)
    assert err.strip() == f"… and 1 more: use --limit N, or --after {first['letter_id']}"
    assert main(["dead-letters", "list", "--after", first["letter_id"], "-o", "json"]) == 0
    out, err = capsys.readouterr()
    assert [each["letter_id"] for each in json.loads(out)] == ["l2"] and err == ""
    assert main(["dead-letters", "list", "--after", "l2", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_letter_is_shown_with_its_body_indented(cluster: Embedded, capsys: Captured) -> None:
    put(cluster, "l1")
    put(cluster, "l2", body=b"no JSON \x00")
    capsys.readouterr()
    assert main(["dead-letters", "show", "l1"]) == 0
    out = capsys.readouterr().out
    assert '  "a": [\n' in out and "cell-inbox.0" in out
    assert main(["dead-letters", "show", "l2"]) == 0
    assert "no JSON \N{REPLACEMENT CHARACTER}" in capsys.readouterr().out
    assert main(["dead-letters", "show", "l2", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["letter"]["message_id"] == "m-l2"


def test_a_retried_letter_is_handled_and_gone(cluster: Embedded, capsys: Captured) -> None:
    put(cluster, "l1", body=b"{}")
    put(cluster, "l2", body=b"{}")
    capsys.readouterr()
    assert main(["dead-letters", "retry", "l1"]) == 0
    assert capsys.readouterr().out == "1 dead letter sent again; 1 left\n"
    assert main(["dead-letters", "retry", "--all"]) == 0
    assert capsys.readouterr().out == "1 dead letter sent again\n"
    assert main(["dead-letters", "list"]) == 0
    assert "no dead letters" in capsys.readouterr().out


def test_what_stays_is_told_and_the_exit_code_says_so(cluster: Embedded, capsys: Captured) -> None:
    put(cluster, "gone", Queue(QueueKind.AGENT_COMMANDS, "nobody"))
    capsys.readouterr()
    assert main(["dead-letters", "retry", "gone"]) == 1
    assert "its queue, agent-commands.nobody, is gone" in capsys.readouterr().err
    assert main(["dead-letters", "retry", "--all"]) == 1
    told = capsys.readouterr()
    assert told.out == "0 dead letters sent again; 1 left\n" and "is gone" in told.err
    assert main(["dead-letters", "drop", "gone", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"settled": 1, "failed": [], "left": 0}


@pytest.mark.parametrize("verb", ["show", "retry", "drop"])
def test_an_unknown_letter_has_exit_code_3(cluster: Embedded, capsys: Captured, verb: str) -> None:
    capsys.readouterr()
    assert main(["dead-letters", verb, "nope"]) == 3
    assert "no dead letter nope" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["retry"], ["drop"], ["drop", "l1", "--all"], ["retry", ""]])
def test_one_or_all_must_be_said(cluster: Embedded, capsys: Captured, words: list[str]) -> None:
    capsys.readouterr()
    assert main(["dead-letters", *words]) == 2
    assert "give the ID of one dead letter, or --all" in capsys.readouterr().err
