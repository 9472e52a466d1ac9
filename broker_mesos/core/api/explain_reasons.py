"""Combines the explanations of all cells into the one reason why something waits, and the one change that would
let it run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from broker_mesos.core.api.explain import AgentObstacle, Obstacle, Placement
from broker_mesos.core.model.amounts import amount_text
from broker_mesos.core.model.framework import Shape
from broker_mesos.core.model.job import JobSpec
from broker_mesos.core.model.resources import Resources
from broker_mesos.core.model.task_isolation import IMAGES, demanded_words

HAS_ROOM = "there is room for it; the next offer should start it"
ADD_SLACK = "have agents lend what their tasks leave unused: bmesos agent --oversubscribe"
OBSTACLE_ORDER: tuple[Obstacle, ...] = (
    "turn",
    "filter",
    "offered",
    "sits",
    "resources",
    "quota",
    "reserved",
    "spread",
    "isolation",
    "gpus",
    "minimum",
    "drain",
)
"""The order in which obstacles are reported if several agents have different ones: the one that is nearest to being
overcome comes first."""


def shape_of(spec: JobSpec, job_id: str = "this job") -> Shape:
    """The demand of a job's tasks."""
    return Shape(
        resources=spec.resources,
        constraints=spec.own_constraints,
        role=spec.role,
        revocable=spec.revocable,
        count=spec.total if spec.gang else 1,
        gang=job_id if spec.gang else "",
        isolation=demanded_words(spec.isolation, spec.limits),
        ports=spec.ports,
        name=job_id if spec.most else "",
        most=spec.most,
        per=spec.per,
    )


def reason(shape: Shape, placements: Sequence[Placement]) -> str:
    """Why a task of the shape does not run, in one line: the first obstacle that does not end by waiting, or else
    the one that is nearest to being overcome."""
    if any(each.would_run for each in placements):
        return HAS_ROOM
    counts: Counter[str] = Counter()
    for each in placements:
        counts.update(each.counts)
    if not counts.total():
        unwanted = next((each.unwanted for each in placements if each.unwanted), "")
        return unwanted or "there are no agents"
    lent = counts.total() - counts["away"]
    if not lent:
        return _nobody(placements, counts["away"])
    for constraint in shape.constraints:
        if all(str(constraint) in each.unmatched for each in placements):
            return f"no agent satisfies the constraint {constraint}"
    if counts["constraint"] == lent:
        wanted = " and ".join(map(str, shape.constraints)) or "what the framework accepts"
        return f"no agent satisfies {wanted} together"
    for word in shape.isolation:
        if all(word in each.unheld for each in placements):
            return f"no agent can: {word}{_why_not_isolated(placements)}"
    if counts["isolation"] and counts["isolation"] + counts["constraint"] == lent:
        who = " of those that the constraints allow" if counts["constraint"] else ""
        what = f"holds tasks to {' '.join(shape.isolation)}"
        if shape.isolation == (IMAGES,):
            what = "runs tasks in containers"
        return f"no agent{who} {what}{_why_not_isolated(placements)}"
    if counts["too-small"] + counts["constraint"] + counts["isolation"] == lent and counts["isolation"]:
        return f"of the agents that hold tasks to what it demands: {_too_big(shape.whole, placements)}"
    if counts["too-small"] + counts["constraint"] == lent:
        who = "of the agents that the constraints allow: " if counts["constraint"] else ""
        return who + _too_big(shape.whole, placements)
    if counts["spread"] and counts["spread"] + counts["constraint"] == lent:
        return _beside(shape, placements)
    unwanted = next((each.unwanted for each in placements if each.unwanted), "")
    if unwanted:
        return unwanted
    together = sum(each.together for each in placements)
    if shape.gang and together >= shape.count:
        return f"there is room for all {shape.count} tasks, but in several cells: it waits for the gang token"
    if shape.gang and together:
        return f"of the {shape.count} tasks, which start together, {together} have room"
    for what in OBSTACLE_ORDER:
        if counts[what]:
            agents = [each for p in placements for each in p.agents if each.what == what]
            # Each cell lists its nearest agent first; only here it is known which cell has the nearest of all.
            agents.sort(key=lambda why: why.distance(shape.whole))
            return _stated(what, counts[what], agents)
    return "all fitting agents are busy"


def _beside(shape: Shape, placements: Sequence[Placement]) -> str:
    """The reason of a task that may stand nowhere beside the others of its shape."""
    why = next((why for each in placements for why in each.agents if why.what == "spread"), None)
    where = "" if why is None else f" ({_name(why)}: {why.message})"
    who = "every agent" if not shape.constraints else "every agent that the constraints allow"
    return f"at most {shape.most} may run for each {shape.per}, and {who} is out{where}"


def _nobody(placements: Sequence[Placement], away: int) -> str:
    messages = Counter(why.message for each in placements for why in each.agents if why.what == "away")
    if set(messages) <= {"it is unreachable"}:
        return f"no agent is reachable ({away} known)"
    return f"no agent is lent now: {', '.join(f'{count} x {text}' for text, count in messages.most_common(3))}"


def _stated(what: Obstacle, count: int, whys: Sequence[AgentObstacle]) -> str:
    nearest = whys[0] if whys else None
    if what == "resources":
        if nearest is None or not nearest.missing:
            return "all fitting agents are busy"
        kept = f"; {nearest.kept}" if nearest.kept else ""
        return f"all fitting agents are busy; {_name(nearest)} is the nearest, short of {nearest.missing}{kept}"
    agents = "1 agent" if count == 1 else f"{count} agents"
    if what == "isolation" and nearest is not None:
        verb = "holds" if count == 1 else "hold"
        return f"{agents} would do, but {verb} tasks to less than it demands ({_name(nearest)}: {nearest.message})"
    where = f" ({_name(nearest)})" if nearest is not None else ""
    text = nearest.message if nearest is not None else what
    return f"{agents} would do, but {text}{where}"


def _why_not_isolated(placements: Sequence[Placement]) -> str:
    """What one of the agents lacks, in parentheses; empty if none is described."""
    found = next((why for each in placements for why in each.agents if why.what == "isolation"), None)
    return "" if found is None else f" ({_name(found)}: {found.message})"


def _name(why: AgentObstacle) -> str:
    return why.agent_id


def change(shape: Shape, placements: Sequence[Placement]) -> str:
    """The one change that would let it run: one that was verified if there is any, and of those the smallest."""
    if any(each.would_run for each in placements):
        return ""
    together = sum(each.together for each in placements)
    if shape.gang and together >= shape.count:
        return "wait: the room is in several cells, which offer it together once the gang has the gang token"
    if shape.gang and together:
        return f"begin with {together} tasks at once instead of {shape.count}"
    every = [each for placement in placements for each in placement.changes]
    every.sort(key=lambda each: (not each.sure, each.rank))
    if not every and shape.on_slack:
        return ADD_SLACK
    return every[0].message if every else "add an agent"


def why_after(waits_for: Sequence[str]) -> str:
    """The reason of a job that runs after other jobs, of which those given have not ended."""
    named = ", ".join(waits_for[:3]) + (f" and {len(waits_for) - 3} more" if len(waits_for) > 3 else "")
    return f"it runs after job {named}, which has not ended" if len(waits_for) == 1 else f"it runs after jobs {named}"


def why_picky(spec: JobSpec, seconds: float) -> str:
    """The reason of a job that still waits for a preferred agent, for so many seconds."""
    wanted = " or ".join(map(str, spec.prefer))
    return f"it waits for an agent with {wanted} for {seconds:.1f} s more; then it takes any agent"


def why_lost(waiting: Mapping[str, int]) -> str:
    """The reason of a job whose tasks may still run on unreachable agents; ``waiting`` counts them by agent."""
    first, count = next(iter(waiting.items()))
    tasks = "1 task waits" if count == 1 else f"{count} tasks wait"
    more = f" (and {len(waiting) - 1} more agents)" if len(waiting) > 1 else ""
    return f"{tasks} for agent {first}, which is unreachable{more}; if it never comes back: bmesos agents gone {first}"


def _too_big(need: Resources, placements: Sequence[Placement]) -> str:
    """The reason of a task that is larger than every agent: it names the resource that is missing the most."""
    worst: tuple[float, str] | None = None
    for name, amount in need.quantities().items():
        largest = max(each.largest.get(name, 0) for each in placements)
        if largest < amount:
            has = f"the largest agent has {amount_text(largest)}" if largest else "no agent has any"
            ratio = largest / amount
            if worst is None or ratio < worst[0]:
                worst = ratio, f"it needs {amount_text(amount)} {name} a task; {has}"
    if worst is not None:
        return worst[1]
    return f"no single agent has all that a task needs ({need})"
