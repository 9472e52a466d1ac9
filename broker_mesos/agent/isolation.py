"""What an agent says of itself about isolation, and which tasks it refuses because of it."""

from __future__ import annotations

from collections.abc import Collection

from broker_mesos.core.model.agent import AgentInfo, Usage
from broker_mesos.core.model.mechanisms import ATTRIBUTE, level_of
from broker_mesos.core.model.part import MAX_SHORT
from broker_mesos.core.model.task import TaskInfo
from broker_mesos.core.model.task_isolation import demanded_words
from broker_mesos.ports.containerizer import Isolation

MAX_PROBLEMS = 20


def with_isolation(info: AgentInfo, held: Isolation) -> AgentInfo:
    """The description of an agent with what it holds tasks to. Its level is an attribute as well, for constraints,
    unless its operator has given that attribute another value."""
    attributes = info.attributes
    if (level := level_of(held.words)) and ATTRIBUTE not in attributes:
        attributes = {**attributes, ATTRIBUTE: level}
    return info.model_copy(
        update={
            "attributes": attributes,
            "isolation": held.words,
            "not_isolated": held.reason,
            "isolation_missing": {word[:MAX_SHORT]: str(reason)[:MAX_SHORT] for word, reason in held.missing.items()},
        }
    )


def with_problems(usage: Usage, problems: tuple[str, ...]) -> Usage:
    """The use of a machine, with the problems of what starts its tasks."""
    return usage.model_copy(update={"problems": problems[:MAX_PROBLEMS]}) if problems else usage


def problem_of_demand(task: TaskInfo, words: Collection[str]) -> str:
    """Why an agent with these words cannot hold a task to what it demands; empty if it can. A cell may not know the
    demand, or the agent may have had more words when the cell decided: the task is never held to less than it demands.
    """
    missing = [word for word in demanded_words(task.isolation, task.limits) if word not in words]
    return f"this agent does not hold tasks to what it demands: {', '.join(missing)}" if missing else ""
