"""The calls that a driver sends to the cells: answers to offers, kills, reconciliation, acknowledgements."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from broker_mesos.core.model.framework import Demand, FrameworkInfo
from broker_mesos.core.model.offer import Offer
from broker_mesos.core.model.part import MAX_SHORT, TaskId
from broker_mesos.core.model.reservation import Operation
from broker_mesos.core.model.task import TaskInfo, TaskStatus
from broker_mesos.core.model.task_states import Reason, TaskState
from broker_mesos.core.protocol import addresses
from broker_mesos.core.protocol.addresses import cell_of
from broker_mesos.core.protocol.framework_messages import (
    Acceptance,
    Acknowledge,
    AnswerInverseOffers,
    Call,
    Decline,
    Kill,
    Reconcile,
    Settle,
)
from broker_mesos.core.protocol.wire import MAX_BODY, first_problem
from broker_mesos.errors import InvalidInput
from broker_mesos.ports.bus import Bus, Outgoing, outgoing
from broker_mesos.ports.clock import Clock, NewId
from broker_mesos.sdk.accepting import Accepting, call_of
from broker_mesos.sdk.tracking import Bounded, ClaimBook, OfferBook, OpenOffer, QuestionBook

if TYPE_CHECKING:
    from broker_mesos.sdk.settings import DriverSettings

T = TypeVar("T")

MAX_TASK_IDS = 1_000
"""Maximum number of task ids in one message; their size is far below the limit of a message body."""
ACKNOWLEDGE_AFTER_SECONDS = 4.0
"""Maximum time for which acknowledgements are collected, in seconds, unless an accept carries them earlier: no client
waits for them."""
ACKNOWLEDGE_AT_COUNT = 500
"""Number of collected acknowledgements at which they are sent at once."""


class Calls:
    """Builds and sends the calls of one framework process, and keeps those that are unanswered."""

    def __init__(
        self, framework: FrameworkInfo, bus: Bus, clock: Clock, new_id: NewId, settings: DriverSettings
    ) -> None:
        self.cells = 0
        self.offers = OfferBook(settings.remember)
        self.questions = QuestionBook(settings.remember)
        self.ended: Bounded[str, None] = Bounded(settings.remember)
        """Ids of tasks whose terminal status was handled."""
        self.on_local: Callable[[Sequence[TaskStatus]], None] = lambda statuses: None
        self._framework = framework
        self._bus = bus
        self._clock = clock
        self._new_id = new_id
        self._settings = settings
        self._claims = ClaimBook(settings.remember)
        self._doubtful: Bounded[str, None] = Bounded(settings.remember)
        """Ids of tasks that had been launched and had no status yet when this process became a standby."""
        self._agents: Bounded[str, str] = Bounded(settings.remember)
        self._launched_on: Bounded[str, tuple[str, ...]] = Bounded(settings.remember)
        """Ids of the offers on which a task that has not ended was launched, by task id."""
        self._earlier: Bounded[str, None] = Bounded(settings.remember)
        """Uuids of terminal statuses of earlier tasks that came when their id was used again."""
        self._accepting = Accepting()
        self._declines: dict[tuple[int, float | None, str], tuple[list[str], list[asyncio.Future[bool]]]] = {}
        self._kills: dict[str, int | None] = {}
        self._handled: list[tuple[int, str]] = []
        """Cell and id of tasks whose terminal status was handled, while its delivery is not acknowledged yet."""
        self._acknowledgements: defaultdict[int, dict[str, None]] = defaultdict(dict)
        self._flushing = False
        self._acknowledging: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Future[bool]] = set()

    # -- answers to offers ----------------------------------------------------------------------------

    def accept(
        self,
        offers: Sequence[Offer | str],
        tasks: Sequence[TaskInfo],
        refuse_seconds: float | None,
        operations: Sequence[Operation] = (),
        demand: Demand | None = None,
    ) -> asyncio.Future[bool]:
        """Accept offers; see ``Driver.accept``."""
        _check_filter(refuse_seconds)
        if not tasks and not operations:
            return self.decline(offers, refuse_seconds)
        ids = list(dict.fromkeys(_offer_id(offer) for offer in offers))
        found = self._open_offers(offers)
        task_ids = [task.task_id for task in tasks]
        if len(set(task_ids)) != len(task_ids):
            raise InvalidInput("two of these tasks have the same id; each task needs an id of its own")
        if self._settings.settle and (running := next(filter(self._agents.__contains__, task_ids), None)):
            # The cell would answer TASK_ERROR, which would look like the end of the task that is still alive.
            raise InvalidInput(f"task {running} has not ended; each task needs an id of its own")
        if len({offer.agent_id for offer in found}) > 1:
            raise InvalidInput("these offers are of several agents; accept those of one agent at a time")
        if not found:
            return self._accept_of_nothing(task_ids)
        cell, agent_id = found[0].cell, found[0].agent_id
        try:
            acceptance = Acceptance(
                offer_ids=tuple(ids),
                operations=tuple(operations),
                tasks=tuple(tasks),
                refuse_seconds=refuse_seconds,
            )
        except ValidationError as error:
            raise InvalidInput(f"this cannot be accepted: {first_problem(error)}") from None
        sent = self._accepting.add(cell, acceptance, demand)
        self._flush_soon()
        self.offers.remove(ids)
        for task_id in task_ids:
            self._agents[task_id] = agent_id
            self.ended.pop(task_id, None)
        if self._settings.settle:
            due = self._clock.monotonic() + 1.5 * self._settings.offer_timeout
            self._claims.add(task_ids, ids[0], cell, due)
            for task_id in task_ids:
                self._launched_on[task_id] = tuple(ids)
            sent.add_done_callback(partial(self._accepted, task_ids))
        return sent

    def decline(
        self, offers: Sequence[Offer | str], refuse_seconds: float | None, reason: str = ""
    ) -> asyncio.Future[bool]:
        """Decline offers; see ``Driver.decline``. The declines of one turn of the event loop are sent together."""
        _check_filter(refuse_seconds)
        if len(reason) > MAX_SHORT:
            raise InvalidInput(f"the reason has {len(reason)} characters; at most {MAX_SHORT} are allowed")
        by_cell: defaultdict[int, list[str]] = defaultdict(list)
        for offer in offers:
            for each in self._open_offers([offer]):
                by_cell[each.cell].append(_offer_id(offer))
        futures = []
        for cell, ids in by_cell.items():
            self.offers.remove(ids)
            collected, waiters = self._declines.setdefault((cell, refuse_seconds, reason), ([], []))
            collected.extend(ids)
            future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            waiters.append(future)
            futures.append(future)
            self._flush_soon()
        return _all(futures)

    def return_offers(self) -> None:
        """Decline all unanswered offers, without a filter, so that other frameworks can use them at once."""
        for ids in self.offers.all_by_cell().values():
            self.decline(ids, 0.0, "its process has ended")

    def _accepted(self, task_ids: Sequence[str], future: asyncio.Future[bool]) -> None:
        if future.cancelled() or future.exception() is not None or not future.result():
            self._claims.hasten(task_ids, self._clock.monotonic())

    def _accept_of_nothing(self, task_ids: Sequence[str]) -> asyncio.Future[bool]:
        if self._settings.settle:
            for task_id in task_ids:
                self.ended.pop(task_id, None)
            self.on_local(
                [
                    TaskStatus(
                        task_id=task_id,
                        state=TaskState.DROPPED,
                        uuid=self._new_id(),
                        framework_id=self._framework.framework_id,
                        reason=Reason.INVALID_OFFERS,
                        message="its offer has ended",
                        timestamp=self._clock.time(),
                    )
                    for task_id in task_ids
                ]
            )
        return _all([], result=False)

    def _open_offers(self, offers: Iterable[Offer | str]) -> list[OpenOffer]:
        found = []
        for offer in offers:
            if isinstance(offer, Offer):
                found.append(OpenOffer(offer.cell, offer.agent_id, 0.0))
            elif (known := self.offers.get(offer)) is not None:
                found.append(known)
        return found

    # -- other calls ----------------------------------------------------------------------------------

    def kill(self, task_id: str, agent_id: str | None) -> None:
        """Kill a task; see ``Driver.kill``."""
        _check_task_ids([task_id])
        agent_id = agent_id or self._agents.get(task_id)
        self._kills[task_id] = cell_of(agent_id, self.cells) if agent_id and self.cells else None
        self._flush_soon()
        if self._kills[task_id] is None:
            self.reconcile([task_id])  # so that the kill of an unknown task gets an answer, too

    def reconcile(self, tasks: Sequence[TaskStatus | str]) -> None:
        """Ask for the states of tasks; see ``Driver.reconcile``."""
        if not tasks:
            self._send(None, Reconcile(framework_id=self._framework.framework_id))
            return
        by_cell: defaultdict[int | None, list[str]] = defaultdict(list)
        for task in tasks:
            task_id, agent_id = (task, "") if isinstance(task, str) else (task.task_id, task.agent_id)
            agent_id = agent_id or self._agents.get(task_id, "")
            by_cell[cell_of(agent_id, self.cells) if agent_id and self.cells else None].append(task_id)
        _check_task_ids([task_id for task_ids in by_cell.values() for task_id in task_ids])
        for cell, task_ids in by_cell.items():
            if cell is None and self._framework.competing:
                # The cells' answers would go to different processes, so that no process could count them.
                for chunk in _chunks(task_ids):
                    self._send(
                        None,
                        Reconcile(
                            framework_id=self._framework.framework_id,
                            task_ids=tuple(chunk),
                            answer_unknown=False,
                        ),
                    )
                continue
            now = self._clock.monotonic()
            for task_id in task_ids:
                self.questions.add(task_id, set(range(self.cells)) if cell is None else {cell}, now)
        self._flush_soon()

    def answer_inverse_offers(self, agent_ids: Iterable[str], accept: bool) -> None:
        """Answer inverse offers; see ``Driver.answer_inverse_offers``."""
        by_cell: defaultdict[int | None, list[str]] = defaultdict(list)
        for agent_id in dict.fromkeys(agent_ids):
            by_cell[cell_of(agent_id, self.cells) if self.cells else None].append(agent_id)
        for cell, ids in by_cell.items():
            for chunk in _chunks(ids):
                try:
                    call = AnswerInverseOffers(
                        framework_id=self._framework.framework_id, agent_ids=tuple(chunk), accept=accept
                    )
                except ValidationError as error:
                    raise InvalidInput(f"this cannot be answered: {first_problem(error)}") from None
                self._send(cell, call)

    def acknowledge(self, cell: int, task_id: str) -> None:
        """Note that a terminal status was handled. Its acknowledgement is sent after its delivery is acknowledged to
        the broker: see ``flush_acknowledgements``."""
        self._handled.append((cell, task_id))

    def is_of_earlier_task(self, status: TaskStatus) -> bool:
        """Whether a status is of a task that ended before its id was used again: a repeat, or a late answer."""
        offers = self._launched_on.get(status.task_id)
        return bool(offers and status.offer_id) and status.offer_id not in (offers or ())

    def is_sent_again(self, status: TaskStatus) -> bool:
        """Whether the cell has sent a status of an earlier task before, or as an answer to a question."""
        known = status.uuid in self._earlier
        self._earlier[status.uuid] = None
        return known or status.reason is Reason.RECONCILIATION

    def received(self, status: TaskStatus) -> TaskStatus:
        """Update what is kept of a task from a status. Returns the status for the scheduler, whose state may be
        changed."""
        if status.state is TaskState.UNKNOWN:
            return status  # a claim is not settled because one cell does not know the task
        self._claims.settled(status.task_id)
        if status.task_id in self._doubtful and status.reason is Reason.INVALID_OFFERS:
            # Another process may have received the task's end meanwhile, and the cell has deleted the task since.
            message = "the cluster does not know it (any more); another process was active meanwhile"
            return status.model_copy(update={"state": TaskState.UNKNOWN, "message": message})
        if status.state.terminal:
            self._agents.pop(status.task_id, None)
            self._launched_on.pop(status.task_id, None)
            self._kills.pop(status.task_id, None)
        elif status.agent_id and status.task_id not in self.ended:  # a late one does not keep the id in use
            self._agents[status.task_id] = status.agent_id
        return status

    def stand_by(self) -> None:
        """Note that another process may be active, and may receive the statuses of this process' launches."""
        for task_id in self._claims.task_ids():
            self._doubtful[task_id] = None

    # -- sending --------------------------------------------------------------------------------------

    def flush_acknowledgements(self) -> None:
        """Acknowledge handled statuses to the cells, now that their deliveries are acknowledged to the broker: within
        ACKNOWLEDGE_AFTER_SECONDS, together."""
        for cell, task_id in self._handled:
            self._acknowledgements[cell][task_id] = None
        self._handled.clear()
        if sum(map(len, self._acknowledgements.values())) >= ACKNOWLEDGE_AT_COUNT:
            self._acknowledge()
        elif self._acknowledgements and self._acknowledging is None:
            self._acknowledging = asyncio.get_running_loop().call_later(ACKNOWLEDGE_AFTER_SECONDS, self._acknowledge)

    def tick(self, *, active: bool) -> None:
        """Repeat what is unanswered and drop what has ended; called once a second. Answers go to the active process,
        so a process that is not active does not ask."""
        now = self._clock.monotonic()
        self.offers.expire(now - 2 * self._settings.offer_timeout)
        framework_id = self._framework.framework_id
        due = self._claims.take_due(now, now + self._settings.offer_timeout) if active else {}
        for cell, claims in due.items():
            for chunk in _chunks(claims):
                task_ids = [task_id for task_id, _ in chunk]
                future = self._send(cell, Settle(framework_id=framework_id, claims=tuple(chunk)))
                future.add_done_callback(partial(self._accepted, task_ids))
        self._ask()
        if self._kills:
            self._flush_soon()

    def reconnected(self) -> None:
        """Repeat all questions soon, after the queues were lost: answers may have been lost with them."""
        self.questions.hasten(self._clock.monotonic())

    async def drain(self, timeout: float) -> None:
        """Send what is collected, and wait up to ``timeout`` seconds for the broker's confirms."""
        self._flush()
        self._acknowledge()
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=timeout)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        framework_id = self._framework.framework_id
        self._flush_accepts()
        declines, self._declines = self._declines, {}
        for (cell, refuse_seconds, reason), (ids, waiters) in declines.items():
            sent = [
                self._send(
                    cell,
                    Decline(
                        framework_id=framework_id,
                        offer_ids=tuple(chunk),
                        refuse_seconds=refuse_seconds,
                        reason=reason,
                    ),
                )
                for chunk in _chunks(ids)
            ]
            _all(sent).add_done_callback(partial(_resolve, waiters))
        self._flush_kills()
        self._ask()

    def _flush_accepts(self) -> None:
        for cell, some in self._accepting.take():
            waiting = self._acknowledgements.get(cell, {})
            acknowledged = tuple(islice(waiting, ACKNOWLEDGE_AT_COUNT))
            call = call_of(self._framework.framework_id, some, acknowledged)
            out = outgoing(addresses.calls(cell), call, self._new_id(), mandatory=True)
            if acknowledged and len(out.body) > MAX_BODY:
                # Acknowledgements that are added must not make the message too long.
                acknowledged = ()
                call = call_of(self._framework.framework_id, some, ())
                out = outgoing(addresses.calls(cell), call, self._new_id(), mandatory=True)
            for task_id in acknowledged:
                del waiting[task_id]
            self._publish(out).add_done_callback(partial(_resolve, [each.sent for each in some]))

    def _acknowledge(self) -> None:
        if self._acknowledging is not None:
            self._acknowledging.cancel()
            self._acknowledging = None
        acknowledgements, self._acknowledgements = self._acknowledgements, defaultdict(dict)
        for cell, task_ids in acknowledgements.items():
            for chunk in _chunks(list(task_ids)):
                call = Acknowledge(framework_id=self._framework.framework_id, task_ids=tuple(chunk))
                self._send(cell, call)

    def _flush_kills(self) -> None:
        kills, self._kills = self._kills, {}
        by_cell: defaultdict[int | None, list[str]] = defaultdict(list)
        for task_id, cell in kills.items():
            by_cell[cell].append(task_id)
        for cell, task_ids in by_cell.items():
            for chunk in _chunks(task_ids):
                call = Kill(
                    framework_id=self._framework.framework_id,
                    task_ids=tuple(chunk),
                    answer_unknown=cell is not None,
                )
                future = self._send(cell, call)
                future.add_done_callback(partial(self._killed, chunk, cell))

    def _killed(self, task_ids: Sequence[str], cell: int | None, future: asyncio.Future[bool]) -> None:
        if future.cancelled() or future.exception() is not None or not future.result():
            for task_id in task_ids:  # the next tick sends it again
                self._kills.setdefault(task_id, cell)

    def _ask(self) -> None:
        now = self._clock.monotonic()
        for cell, task_ids in self.questions.take_due(now, now + self._settings.offer_timeout).items():
            for chunk in _chunks(task_ids):
                self._send(cell, Reconcile(framework_id=self._framework.framework_id, task_ids=tuple(chunk)))

    def _send(self, cell: int | None, call: Call) -> asyncio.Future[bool]:
        self._flush_accepts()  # accepts that were called before must be sent first
        return self._publish(outgoing(addresses.calls(cell), call, self._new_id(), mandatory=True))

    def _publish(self, out: Outgoing) -> asyncio.Future[bool]:
        future = self._bus.publish(out)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future


def _offer_id(offer: Offer | str) -> str:
    return offer if isinstance(offer, str) else offer.offer_id


_TASK_IDS = TypeAdapter(list[TaskId])


def _check_task_ids(task_ids: Sequence[str]) -> None:
    """Raise InvalidInput for bad task ids now, since messages are built later, from several calls."""
    try:
        _TASK_IDS.validate_python(task_ids)
    except ValidationError as error:
        raise InvalidInput(f"no task id: {first_problem(error)}") from None


def _check_filter(refuse_seconds: float | None) -> None:
    if refuse_seconds is not None and not (0 <= refuse_seconds < math.inf):
        raise InvalidInput(f"refuse_seconds is {refuse_seconds:g}; give seconds from 0 up, or None")


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MAX_TASK_IDS):
        yield items[start : start + MAX_TASK_IDS]


def _all(futures: Sequence[asyncio.Future[bool]], *, result: bool = True) -> asyncio.Future[bool]:
    """A future that is True when all futures are True, and gets the first error if there is one. It need not be
    awaited."""
    whole: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    left = len(futures)
    if not left:
        whole.set_result(result)

    def one_done(future: asyncio.Future[bool]) -> None:
        nonlocal left, result
        left -= 1
        if whole.done():
            return
        if future.cancelled():
            whole.cancel()
        elif (error := future.exception()) is not None:
            whole.set_exception(error)
            whole.exception()  # retrieved: no warning if it is ignored
        else:
            result = result and future.result()
            if not left:
                whole.set_result(result)

    for future in futures:
        future.add_done_callback(one_done)
    return whole


def _resolve(waiters: Sequence[asyncio.Future[bool]], done: asyncio.Future[bool]) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if done.cancelled():
            waiter.cancel()
        elif (error := done.exception()) is not None:
            waiter.set_exception(error)
            waiter.exception()
        else:
            waiter.set_result(done.result())
