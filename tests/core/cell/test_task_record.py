"""What is stored of a task, and what is read of it when."""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.task_record import TaskRecord, parted, read_record

STATUS = TaskStatus(task_id="t1", state=TaskState.RUNNING, uuid="u", message="two\nlines")
FULL = TaskRecord(
    task_id="t1",
    framework_id="f1",
    agent_id="a1",
    role='a"b\n',
    name="n",
    resources=Resources.parse("cpus:1.5;mem:64;ports:[31000-31002]"),
    offer_id="o1",
    state=TaskState.KILLING,
    status=STATUS,
    launch='{"task":{}}',
    kill_requested=True,
    kill_reason=Reason.AGENT_DRAINING,
    created_at=1.25,
    labels={"job": "j"},
    volumes=("v1",),
    revocable=True,
    line="",
    waits=False,
)
BARE = TaskRecord(task_id="t2", framework_id="f1", agent_id="a1", resources=Resources.parse("cpus:1"))
LINED = BARE.model_copy(update={"line": "l", "waits": True})
ALL = pytest.mark.parametrize("record", [FULL, BARE, LINED])


@ALL
def test_a_record_is_read_as_it_was_written(record: TaskRecord) -> None:
    assert read_record(record.encode()) == record


@ALL
def test_a_task_from_the_store_writes_the_record_that_it_was_read_from(record: TaskRecord) -> None:
    stored = record.encode()
    assert Task.stored(stored, {}).record().encode() == stored


def test_what_was_set_before_the_details_were_read_is_not_undone_by_reading_them() -> None:
    task = Task.stored(FULL.encode(), {})
    ended = STATUS.model_copy(update={"state": TaskState.FINISHED})
    task.status, task.launch = ended, None
    assert (task.name, task.labels, task.volumes) == ("n", {"job": "j"}, ("v1",))
    assert (task.status, task.launch) == (ended, None)


def test_a_task_from_the_store_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = Task.stored(BARE.encode(), {}).nonsense  # type: ignore[attr-defined]


def test_what_a_later_version_has_added_is_passed_over() -> None:
    head, _, details = FULL.encode().partition(b"\n")
    later = head[:-1] + b',"more"]\n' + details[:-1] + b',"more":1}'
    assert read_record(later) == FULL
    assert Task.stored(later, {}).record() == FULL


def test_equal_names_are_one_text() -> None:
    names: dict[str, str] = {}
    one, other = (Task.stored(each.encode(), names) for each in (BARE, LINED))
    assert one.framework_id is other.framework_id and one.agent_id is other.agent_id


def test_the_details_of_a_stored_task_are_left_unread_until_one_is_asked_for() -> None:
    head, _, _ = BARE.encode().partition(b"\n")
    task = Task.stored(head + b"\nnot JSON", {})
    assert (task.state, task.resources, task.queue_key) == (TaskState.STAGING, BARE.resources, None)
    with pytest.raises(ValueError, match="JSON"):
        _ = task.labels


def test_the_first_line_has_no_line_feed_in_it() -> None:
    fields, details = parted(FULL.encode())
    assert fields[3] == FULL.role and details.startswith(b"{")
