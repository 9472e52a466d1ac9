"""What a driver keeps in memory, with limits: unanswered offers, tasks without a status, questions, ended tasks."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker_mesos.core.model.offer import Offer

K = TypeVar("K")
V = TypeVar("V")


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """A dict with at most ``limit`` entries that drops its oldest one when it is full; setting an entry makes it the
    newest."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class OpenOffer:
    """An offer that this process has not answered yet."""

    cell: int
    agent_id: str
    received_at: float


class OfferBook:
    """The unanswered offers by id, so that an id is enough to answer one."""

    def __init__(self, limit: int) -> None:
        self._offers: Bounded[str, OpenOffer] = Bounded(limit)

    def add(self, offers: Iterable[Offer], now: float) -> None:
        """Add offers that were received at ``now``, in monotonic seconds."""
        for offer in offers:
            self._offers[offer.offer_id] = OpenOffer(offer.cell, offer.agent_id, now)

    def get(self, offer_id: str) -> OpenOffer | None:
        """An unanswered offer; None if there is none with this id."""
        return self._offers.get(offer_id)

    def remove(self, offer_ids: Iterable[str]) -> None:
        """Remove offers that were answered or have ended."""
        for offer_id in offer_ids:
            self._offers.pop(offer_id, None)

    def expire(self, before: float) -> None:
        """Remove offers that were received before that monotonic time: their offer timeout is over."""
        for offer_id, offer in list(self._offers.items()):
            if offer.received_at < before:
                del self._offers[offer_id]

    def all_by_cell(self) -> dict[int, list[str]]:
        """The ids of all unanswered offers, by cell."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for offer_id, offer in self._offers.items():
            found[offer.cell].append(offer_id)
        return found


@dataclass(slots=True)
class Claim:
    """A task launched on an offer and without a status yet. ``due`` is the monotonic time at which to ask its cell."""

    offer_id: str
    cell: int
    due: float


class ClaimBook:
    """The launched tasks that have no status yet."""

    def __init__(self, limit: int) -> None:
        self._claims: Bounded[str, Claim] = Bounded(limit)

    def add(self, task_ids: Iterable[str], offer_id: str, cell: int, due: float) -> None:
        """Add tasks that were launched on an offer."""
        for task_id in task_ids:
            self._claims[task_id] = Claim(offer_id, cell, due)

    def settled(self, task_id: str) -> None:
        """Remove a task that got a status."""
        self._claims.pop(task_id, None)

    def task_ids(self) -> list[str]:
        """The ids of all these tasks."""
        return list(self._claims)

    def hasten(self, task_ids: Iterable[str], due: float) -> None:
        """Make these tasks due at ``due`` if that is earlier."""
        for task_id in task_ids:
            claim = self._claims.get(task_id)
            if claim is not None:
                claim.due = min(claim.due, due)

    def take_due(self, now: float, again: float) -> dict[int, list[tuple[str, str]]]:
        """Pairs of task id and offer id to ask about, by cell; they are due again at ``again``."""
        found: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for task_id, claim in self._claims.items():
            if claim.due <= now:
                claim.due = again
                found[claim.cell].append((task_id, claim.offer_id))
        return found


@dataclass(slots=True)
class Question:
    """A task whose state was asked for: the cells that have not answered, and the monotonic time to ask them again."""

    cells: set[int]
    due: float


class QuestionBook:
    """The tasks of explicit reconciliation. If a task's cell is not known, all cells are asked, and the task is unknown
    when every one of them has answered so."""

    def __init__(self, limit: int) -> None:
        self._questions: Bounded[str, Question] = Bounded(limit)

    def add(self, task_id: str, cells: set[int], due: float) -> None:
        """Add a task whose state is asked for from these cells."""
        self._questions[task_id] = Question(cells, due)

    def answered(self, task_id: str) -> None:
        """Remove a task that a cell knows."""
        self._questions.pop(task_id, None)

    def unknown(self, task_id: str, cell: int) -> bool:
        """Note that one cell does not know the task. Returns whether the task is now known to be unknown."""
        question = self._questions.get(task_id)
        if question is None:
            return True
        question.cells.discard(cell)
        if question.cells:
            return False
        del self._questions[task_id]
        return True

    def take_due(self, now: float, again: float) -> dict[int, list[str]]:
        """Task ids to ask each cell for; they are due again at ``again``."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for task_id, question in self._questions.items():
            if question.due <= now:
                question.due = again
                for cell in question.cells:
                    found[cell].append(task_id)
        return found

    def hasten(self, due: float) -> None:
        """Make all questions due at ``due``, since answers may have been lost."""
        for question in self._questions.values():
            question.due = min(question.due, due)
