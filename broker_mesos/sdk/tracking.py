"""What a driver remembers, all of it bounded: offers in hand, tasks without news, questions, ends."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker_mesos.core.model.offer import Offer

K = TypeVar("K")
V = TypeVar("V")


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """A dict that forgets its oldest entry when it is full; setting an entry makes it the newest."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class HeldOffer:
    """An offer that this process has not answered."""

    cell: int
    agent_id: str
    received_at: float


class OfferBook:
    """The offers in hand, so that an id is enough to answer one."""

    def __init__(self, limit: int) -> None:
        self._held: Bounded[str, HeldOffer] = Bounded(limit)

    def add(self, offers: Iterable[Offer], now: float) -> None:
        """Offers have come."""
        for offer in offers:
            self._held[offer.offer_id] = HeldOffer(offer.cell, offer.agent_id, now)

    def get(self, offer_id: str) -> HeldOffer | None:
        """An offer in hand, if it is one."""
        return self._held.get(offer_id)

    def remove(self, offer_ids: Iterable[str]) -> None:
        """Offers are answered, or have ended."""
        for offer_id in offer_ids:
            self._held.pop(offer_id, None)

    def expire(self, before: float) -> None:
        """Forget what came before that time: its cell has taken it back long ago."""
        for offer_id, held in list(self._held.items()):
            if held.received_at < before:
                del self._held[offer_id]

    def all_by_cell(self) -> dict[int, list[str]]:
        """Everything in hand."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for offer_id, held in self._held.items():
            found[held.cell].append(offer_id)
        return found


@dataclass(slots=True)
class Claim:
    """A task launched on an offer, of which nothing was heard yet. ``due``: when to ask (monotonic)."""

    offer_id: str
    cell: int
    due: float


class ClaimBook:
    """The tasks launched and not heard of."""

    def __init__(self, limit: int) -> None:
        self._claims: Bounded[str, Claim] = Bounded(limit)

    def add(self, task_ids: Iterable[str], offer_id: str, cell: int, due: float) -> None:
        """Tasks were launched."""
        for task_id in task_ids:
            self._claims[task_id] = Claim(offer_id, cell, due)

    def heard(self, task_id: str) -> None:
        """A status came."""
        self._claims.pop(task_id, None)

    def task_ids(self) -> list[str]:
        """All of them."""
        return list(self._claims)

    def hasten(self, task_ids: Iterable[str], due: float) -> None:
        """Ask about these earlier than planned."""
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
    """A task whose state was asked for: the cells that have not answered, and when to ask them again."""

    cells: set[int]
    due: float


class QuestionBook:
    """Explicit reconciliation. Where the task's cell is not known, all are asked, and it is unknown when
    every one of them has said so."""

    def __init__(self, limit: int) -> None:
        self._questions: Bounded[str, Question] = Bounded(limit)

    def ask(self, task_id: str, cells: set[int], due: float) -> None:
        """A question begins."""
        self._questions[task_id] = Question(cells, due)

    def answered(self, task_id: str) -> None:
        """Some cell knows the task."""
        self._questions.pop(task_id, None)

    def unknown(self, task_id: str, cell: int) -> bool:
        """One cell does not know the task; whether that is now the whole answer."""
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
        """Ask everything again soon: answers may have been lost."""
        for question in self._questions.values():
            question.due = min(question.due, due)
