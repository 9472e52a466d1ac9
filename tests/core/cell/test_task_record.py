"""What is stored of a task, and what is read of it when."""

from __future__ import annotations

import pytest

from broker_mesos.core.cell.state.task import Task
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task import TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol.task_record import TaskDetails, TaskRecord

STATUS = TaskStatus(task_id="t1", state=TaskState.RUNNING, uuid="u", message="two\nlines")
FULL = TaskRecord(
    "t1",
    "f1",
    "a1",
    Resources.parse("cpus:1.5;mem:64;ports:[31000-31002]"),
    role='a"b\n',
    state=TaskState.KILLING,
    kill_requested=True,
    kill_reason=Reason.AGENT_DRAINING,
    revocable=True,
    details=TaskDetails(
        name="n",
        offer_id="o1",
        status=STATUS,
        launch='{"task":{}}',
        created_at=1.25,
        labels={"job": "j"},
        volumes=("v1",),
    ),
)
BARE = TaskRecord("t2", "f1", "a1", Resources.parse("cpus:1"))
SHAPED = TaskRecord("t3", "f1", "a1", Resources.parse("cpus:1"), shape="web")
QUEUED = TaskRecord("t2", "f1", "a1", Resources.parse("cpus:1"), queue="l", waits=True)
ALL = pytest.mark.parametrize("record", [FULL, BARE, QUEUED, SHAPED], ids=["full", "bare", "queued", "shaped"])


def test_records_are_stored_as_earlier_releases_store_them() -> None:
    assert FULL.encode() == (
        b'["t1","f1","a1","a\\"b\\n","cpus:1.5;mem:64;ports:[31000-31002]","TASK_KILLING",3,"",'
        b'"REASON_SLAVE_DRAINING"]\n'
        b'{"name":"n","offer_id":"o1","launch":"{\\"task\\":{}}","created_at":1.25,"labels":{"job":"j"},'
        b'"volumes":["v1"],"status":{"task_id":"t1","state":"TASK_RUNNING","uuid":"u","message":"two\\nlines"}}'
    )
    assert BARE.encode() == b'["t2","f1","a1","*","cpus:1","TASK_STAGING",0,"",""]\n{}'
    assert QUEUED.encode() == b'["t2","f1","a1","*","cpus:1","TASK_STAGING",4,"l",""]\n{}'
    assert SHAPED.encode() == b'["t3","f1","a1","*","cpus:1","TASK_STAGING",0,"","","web"]\n{}'


@ALL
def test_a_record_is_read_as_it_was_written(record: TaskRecord) -> None:
    found = Task.decode(record.encode())
    assert found.encode() == record.encode()  # undecoded
    assert found.details == record.details
    assert found.encode() == record.encode()
    for name in TaskRecord.__slots__:
        if not name.startswith("_"):
            assert getattr(found, name) == getattr(record, name)


def test_details_that_have_changed_are_stored() -> None:
    task = Task.decode(FULL.encode())
    ended = STATUS.model_copy(update={"state": TaskState.FINISHED})
    task.details.status, task.details.launch = ended, None
    found = Task.decode(task.encode()).details
    assert (found.status, found.launch, found.name, found.labels) == (ended, None, "n", {"job": "j"})


def test_what_a_later_release_has_added_is_ignored() -> None:
    for record in (FULL, SHAPED):
        head, _, details = record.encode().partition(b"\n")
        added = b',"more"]' if record.shape else b',"","more"]'
        found = Task.decode(head[:-1] + added + b"\n" + details[:-1] + (b',"more":1}' if details != b"{}" else b"}"))
        assert found.details == record.details
        assert found.encode() == record.encode()


def test_equal_names_are_one_text() -> None:
    names: dict[str, str] = {}
    one, other = (Task.decode(each.encode(), names) for each in (BARE, QUEUED))
    assert one.framework_id is other.framework_id and one.agent_id is other.agent_id


def test_the_details_of_a_stored_task_are_not_decoded_before_they_are_used() -> None:
    head, _, _ = BARE.encode().partition(b"\n")
    task = Task.decode(head + b"\nnot JSON")
    assert (task.state, task.resources, task.queue_key) == (TaskState.STAGING, BARE.resources, None)
    assert task.encode() == head + b"\nnot JSON"
    with pytest.raises(ValueError, match="JSON"):
        _ = task.details
