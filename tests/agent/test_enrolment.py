"""The user of an agent in its work folder."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from broker_mesos.agent.checkpoint import FileCheckpoint
from broker_mesos.agent.enrolment import BrokerUser, UserFile
from broker_mesos.errors import Conflict, InvalidInput
from broker_mesos.runtime.clock import new_id


def test_a_new_user_is_stored_once_and_for_itself_alone(tmp_path: Path) -> None:
    file = UserFile(tmp_path / "w")
    user = file.obtain(new_id)
    assert user.name.startswith("agent-") and len(user.password) == 43 and user.release == ""
    assert file.path.stat().st_mode & 0o777 == 0o600 and file.path.parent.stat().st_mode & 0o777 == 0o700
    assert file.obtain(new_id) == user
    file.save(replace(user, release="1.0"))
    assert UserFile(tmp_path / "w").obtain(new_id) == replace(user, release="1.0")
    assert [each.name for each in file.path.parent.iterdir()] == ["broker_user.json"]
    assert user.password not in repr(user)


def test_agents_that_begin_in_one_folder_have_one_user(tmp_path: Path) -> None:
    found: list[BrokerUser] = []
    start = threading.Barrier(8)

    def begin() -> None:
        start.wait()
        found.append(UserFile(tmp_path).obtain(new_id))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_the_agent_of_a_work_folder_keeps_its_id(tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path)
    checkpoint.open()
    checkpoint.save("agent-7", 0, "boot")
    checkpoint.close()
    assert UserFile(tmp_path).obtain(new_id).name == "agent-7"


def test_an_agent_whose_id_no_user_may_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "agent.json").write_text(json.dumps({"agent_id": "host7"}))
    with pytest.raises(Conflict, match="'host7', and the ids of enrolled agents begin with 'agent-'"):
        UserFile(tmp_path).obtain(new_id)
    (tmp_path / "meta" / "agent.json").write_text(json.dumps({"agent_id": "agent-a.b"}))
    with pytest.raises(InvalidInput, match="no dot"):
        UserFile(tmp_path).obtain(new_id)


GOOD = {"name": "agent-1", "password": "p" * 43, "release": ""}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        "[1]",
        "",
        "[" * 100_000,
        json.dumps({**GOOD, "name": "a.b"}),
        json.dumps({**GOOD, "name": "master"}),
        json.dumps({**GOOD, "password": "p@host/"}),
        json.dumps({**GOOD, "password": 7}),
        "\xff",
    ],
)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    file = UserFile(tmp_path)
    file.path.parent.mkdir()
    file.path.write_bytes(text.encode("latin-1"))
    file.path.chmod(0o600)
    with pytest.raises(InvalidInput) as refused:
        file.obtain(new_id)
    assert "broker_user.json is damaged" in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_others_may_read_and_a_folder_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    file = UserFile(tmp_path / "w")
    file.obtain(new_id)
    file.path.chmod(0o640)
    with pytest.raises(InvalidInput, match="others may read this password"):
        file.obtain(new_id)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot use the work folder"):
        UserFile(tmp_path / "file").obtain(new_id)
