"""The faults of a seed: what happens when, and for how long. They all end before the end is expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from broker_mesos.core.model.mechanisms import MECHANISMS
from broker_mesos.ports.containerizer import Isolation
from tests.simulation.nodes import AgentNode, CloneNode, Node

if TYPE_CHECKING:
    from tests.simulation.world import World

FIRST, LAST = 0.5, 10.0
"""Virtual seconds between which faults begin."""

Fault = Callable[["World"], tuple[str, float]]
"""Begins now; returns what it is, and after how many seconds it is over."""


def _short(world: World) -> float:
    return world.rng.choice((0.05, 0.5, 2.0)) * world.rng.uniform(0.5, 1.5)


def _long(world: World) -> float:
    return world.rng.choice((0.2, 1.0, 1.0, 4.0, 12.0)) * world.rng.uniform(0.5, 1.5)


def _note_death(world: World, node: Node) -> None:
    if isinstance(node, AgentNode):
        world.agents_died = True


def kill(world: World) -> tuple[str, float]:
    """kill -9, between any two effects."""
    busy = [*world.masters, *world.masters, *world.agents, *world.workers, *world.nodes]
    node, down = world.rng.choice(busy), _long(world)
    _note_death(world, node)
    proc = node.proc
    if proc is None or not proc.alive:
        return f"{node.name} is not there to be killed", 0.0
    effects = world.rng.choice((0, world.rng.randint(0, 6), world.rng.randint(0, 60)))
    proc.doom = effects
    node.stay_down(down)
    # It may do nothing for so long.
    world.loop.after(2.0, proc.die)
    return f"kill {node.name} after {effects} effects, for {down:.2f} s", 2.0 + down


def kill_masters(world: World) -> tuple[str, float]:
    """All masters at once."""
    for node in world.masters:
        node.kill(_short(world))
    return "kill all masters", 3.0


def terminate(world: World) -> tuple[str, float]:
    """SIGTERM."""
    node, down = world.rng.choice(world.nodes), _long(world)
    _note_death(world, node)
    node.terminate(down)
    return f"terminate {node.name}, for {down:.2f} s", down + 1.0


def pause(world: World) -> tuple[str, float]:
    """SIGSTOP and SIGCONT."""
    node, seconds = world.rng.choice(world.nodes), _long(world)
    world.pause(node, seconds)
    return f"pause {node.name} for {seconds:.2f} s", seconds


def pause_between(world: World) -> tuple[str, float]:
    """SIGSTOP between two effects, when the process has done so many."""
    node = world.rng.choice([*world.masters, *world.workers, *world.workers, *world.agents])
    seconds, effects = world.rng.uniform(0.5, 9.0), world.rng.randint(0, 40)
    proc = node.proc
    if proc is None or not proc.alive:
        return f"{node.name} is not there to be paused", 0.0
    proc.stall = effects

    def stall() -> None:
        world.pause(node, seconds)
        world.troubled_until = max(world.troubled_until, world.loop.time() + seconds)

    proc.on_stall = stall
    return f"pause {node.name} after {effects} effects for {seconds:.2f} s", 5.0


def pause_master(world: World) -> tuple[str, float]:
    """Likewise, for long enough to be replaced."""
    node, seconds = world.rng.choice(world.masters), world.rng.uniform(4.0, 12.0)
    world.pause(node, seconds)
    return f"pause {node.name} for {seconds:.2f} s", seconds


def reboot(world: World) -> tuple[str, float]:
    """A machine restarts."""
    node, down = world.rng.choice(world.agents), _long(world)
    _note_death(world, node)
    node.reboot(down)
    return f"reboot {node.name}, for {down:.2f} s", down


def wipe_agent(world: World) -> tuple[str, float]:
    """A machine is installed anew."""
    node, down = world.rng.choice(world.agents), _long(world)
    _note_death(world, node)
    node.wipe(down)
    return f"wipe {node.name}, for {down:.2f} s", down


def cut_bus(world: World) -> tuple[str, float]:
    """A node is cut off from the broker."""
    node, seconds = world.rng.choice(world.nodes), _long(world)
    world.cut_bus(node, seconds)
    return f"cut {node.name} off from the broker for {seconds:.2f} s", seconds


def cut_agent(world: World) -> tuple[str, float]:
    """An agent is cut off for long enough to be unreachable, with launches on their way."""
    node, seconds = world.rng.choice(world.agents), world.rng.uniform(3.0, 12.0)
    world.cut_bus(node, seconds)
    return f"cut {node.name} off from the broker for {seconds:.2f} s", seconds


def cut_store(world: World) -> tuple[str, float]:
    """A node is cut off from the store."""
    node, seconds = world.rng.choice([*world.masters, *world.workers]), _long(world)
    world.cut_store(node, seconds)
    return f"cut {node.name} off from the store for {seconds:.2f} s", seconds


def _reset(world: World, node: Node) -> None:
    if node.bus is not None and node.alive:
        node.bus.sever(lambda: world.rng.uniform(0.0, 0.1))


def reset_connections(world: World) -> tuple[str, float]:
    """A node's connections to the broker break."""
    node = world.rng.choice(world.nodes)
    _reset(world, node)
    return f"reset the connections of {node.name}", 0.1


def reset_agent(world: World) -> tuple[str, float]:
    """An agent's connections to the broker break."""
    node = world.rng.choice(world.agents)
    _reset(world, node)
    return f"reset the connections of {node.name}", 0.1


def restart_broker(world: World) -> tuple[str, float]:
    """The broker stops and starts."""
    down = _long(world)
    if not world.broker.running:
        return "the broker is down already", 0.0
    world.broker.stop()
    world.loop.after(down, world.broker.start)
    return f"stop the broker for {down:.2f} s", down


def wipe_broker(world: World) -> tuple[str, float]:
    """The broker comes back without its disk."""
    down = _long(world)
    if not world.broker.running:
        return "the broker is down already", 0.0
    world.broker.stop()
    world.loop.after(down, world.broker.wipe)
    return f"wipe the broker, down for {down:.2f} s", down


def stop_store(world: World) -> tuple[str, float]:
    """The store refuses connections."""
    down = _long(world)

    def start() -> None:
        world.state.available = True

    world.state.available = False
    world.loop.after(down, start)
    return f"stop the store for {down:.2f} s", down


def hang_store(world: World) -> tuple[str, float]:
    """The store answers nothing; what was sent is applied later."""
    down = _long(world)

    def wake() -> None:
        world.store_hangs = False
        world.release_calls()

    world.store_hangs = True
    world.loop.after(down, wake)
    return f"pause the store for {down:.2f} s", down


def lose_replies(world: World) -> tuple[str, float]:
    """Connections to the store break after the call was applied."""
    seconds, share = _long(world), world.rng.choice((0.05, 0.3))

    def end() -> None:
        world.reply_loss = 0.0

    world.reply_loss = share
    world.loop.after(seconds, end)
    return f"lose {share:.0%} of the store's replies for {seconds:.2f} s", seconds


def roll_back(world: World) -> tuple[str, float]:
    """The store goes back to what it was a while ago."""
    old, ago = world.state.snapshot(), _long(world)
    if world.rng.random() < 0.3:
        # The copy is put on a machine whose clock is slow.
        world.store_clock.offset -= 100.0

    def restore() -> None:
        world.forget()
        world.trace("restore", None)
        world.state.restore(old)

    world.loop.after(ago, restore)
    return f"restore the store in {ago:.2f} s as it is now", ago


def wipe_store(world: World) -> tuple[str, float]:
    """The store forgets everything."""
    world.forget()
    world.state.wipe()
    return "wipe the store", 0.0


def jump_clock(world: World) -> tuple[str, float]:
    """A wall clock jumps."""
    rng = world.rng
    name, clock = rng.choice([("store", world.store_clock), *((node.name, node.clock) for node in world.nodes)])
    by = rng.choice((-1.0, 1.0)) * rng.choice((0.5, 5.0, 100.0, 3600.0))
    clock.offset += by
    return f"the clock of {name} jumps by {by:g} s", 0.0


def kill_ahead(world: World) -> tuple[str, float]:
    """A worker whose wall clock is an hour ahead is killed between a claim and its ACCEPT."""
    node, down = world.rng.choice(world.workers), _long(world)
    proc = node.proc
    if proc is None or not proc.alive:
        return f"{node.name} is not there to be killed", 0.0
    node.clock.offset += 3_600.0
    proc.dies_with_claim = True
    node.stay_down(down)
    world.loop.after(4.0, proc.die)
    return f"the clock of {node.name} jumps ahead, and it is killed after its next claim", 4.0 + down


def lose_beats(world: World) -> tuple[str, float]:
    """Heartbeats get lost."""
    seconds = _long(world)

    def end() -> None:
        world.beats_lost = False

    world.beats_lost = True
    world.loop.after(seconds, end)
    return f"lose all heartbeats for {seconds:.2f} s", seconds


def step_clocks_during_absence(world: World) -> tuple[str, float]:
    """The clocks of a kind of node are set right while all processes of a framework are away."""
    rng = world.rng
    away = rng.choice((world.workers, world.frameworks, world.frameworks))
    down = rng.uniform(16.0, 24.0)
    steps = rng.choice((rng.uniform(0.5, 11.0), rng.uniform(11.5, 15.5)))  # before, and after it counts as away
    kind = rng.choice((world.masters, world.masters, world.workers, world.agents))
    by = rng.choice((-1.0, 1.0)) * rng.choice((200.0, 3600.0, 30 * 86_400.0))
    for node in away:
        node.kill(down * rng.uniform(0.9, 1.0))

    def step() -> None:
        for node in kind:
            node.clock.offset += by

    world.loop.after(steps, step)
    names = ", ".join(node.name for node in kind)
    return f"the clocks of {names} step by {by:g} s while {away[0].name} and its like are away", down


def clone_agent(world: World) -> tuple[str, float]:
    """A machine with a copy of an agent's work folder is started, and the agent's connections break now and then."""
    rng = world.rng
    original = rng.choice(world.agents)
    clone, seconds = CloneNode(world, original), rng.uniform(4.0, 16.0)
    clone.start()
    at = 0.0
    while (at := at + rng.uniform(0.5, 2.5)) < seconds:
        world.loop.after(at, _reset, world, original)
    world.loop.after(seconds, clone.switch_off)
    return f"a clone of {original.name} runs for {seconds:.2f} s", seconds


def step_forward_during_absence(world: World) -> tuple[str, float]:
    """Likewise, in the way that ends a framework whose absence is computed from the calendar of an owner: the clocks of
    all masters step ahead by more than its failover timeout when it counts as away."""
    rng = world.rng
    down, by = rng.uniform(18.0, 24.0), rng.choice((3600.0, 30 * 86_400.0))
    for node in world.frameworks:
        node.kill(down * rng.uniform(0.95, 1.0))

    def step() -> None:
        for node in world.masters:
            node.clock.offset += by

    world.loop.after(rng.uniform(13.0, 16.0), step)
    return f"the clocks of the masters step by {by:g} s while the framework is away", down


def fill_disk(world: World) -> tuple[str, float]:
    """The disk of a machine is short for a while; now and then the agent's process ends meanwhile."""
    node, seconds = world.rng.choice(world.agents), world.rng.uniform(2.0, 9.0)
    node.set_disk(200 << 20)
    world.loop.after(seconds, node.set_disk, 50 << 30)
    if world.rng.random() < 0.5:
        _note_death(world, node)
        world.loop.after(seconds * world.rng.uniform(0.1, 0.6), node.kill, _short(world))
    return f"fill the disk of {node.name} for {seconds:.2f} s", seconds + 3.0


def _held_agent(world: World) -> AgentNode:
    """An agent that has not lost anything of what it holds tasks to."""
    return world.rng.choice([each for each in world.agents if not each.is_old])


def hold_to_less(world: World) -> tuple[str, float]:
    """An agent is started again with less isolation, and again with all of it."""
    node, down, later = _held_agent(world), _short(world), world.rng.uniform(2.0, 6.0)
    node.terminate(down)
    words = world.rng.choice(((), ("cpu", "mem", "pids", "oom", "kill"), ("mem", "net", "fs", "pid")))
    world.loop.after(down / 2, setattr, node.machine, "held", Isolation(words))
    world.loop.after(later, _hold_to_all, node, down)
    return f"{node.name} holds tasks to {words or 'nothing'} after a restart, for {later:.2f} s", later + down + 8.0


def lose_cgroups(world: World) -> tuple[str, float]:
    """The cgroups of a machine are taken away under its agent, and are back when that has been started again."""
    node, seconds = _held_agent(world), world.rng.uniform(0.5, 4.0)
    node.machine.held = Isolation()
    world.loop.after(seconds, _hold_to_all, node, 0.5)
    return f"{node.name} loses its cgroups for {seconds:.2f} s", seconds + 8.0


def _hold_to_all(node: AgentNode, down: float) -> None:
    node.machine.held = Isolation(tuple(MECHANISMS))
    node.terminate(down)


CRASH: tuple[Fault, ...] = (
    kill,
    kill,
    kill,
    kill_masters,
    terminate,
    pause,
    pause_master,
    reboot,
    wipe_agent,
)
NETWORK: tuple[Fault, ...] = (
    cut_bus,
    cut_agent,
    cut_store,
    reset_connections,
    restart_broker,
    wipe_broker,
    stop_store,
    hang_store,
    lose_replies,
    jump_clock,
    lose_beats,
)
CLOCKS: tuple[Fault, ...] = (
    step_clocks_during_absence,
    step_clocks_during_absence,
    jump_clock,
    kill,
    kill_masters,
)
ABSENCE: tuple[Fault, ...] = (step_forward_during_absence,)
CLAIMS: tuple[Fault, ...] = (kill_ahead, kill_ahead, jump_clock, kill)
CLONES: tuple[Fault, ...] = (clone_agent, clone_agent, clone_agent, kill_masters, reset_connections)
LARGE: tuple[Fault, ...] = (kill_masters, reset_agent, reset_agent)
REUSE: tuple[Fault, ...] = (reset_agent, reset_connections, kill_masters, pause, lose_beats)
DISKS: tuple[Fault, ...] = (fill_disk, fill_disk, fill_disk, kill, terminate, reboot, kill_masters, reset_agent)
ISOLATION: tuple[Fault, ...] = (
    hold_to_less,
    hold_to_less,
    lose_cgroups,
    lose_cgroups,
    kill,
    reboot,
    kill_masters,
    reset_agent,
)
AMNESIA: tuple[Fault, ...] = (roll_back, roll_back, wipe_store)


def schedule(world: World) -> float:
    """Arrange a seed's faults; returns the time at which the last of them begins. ``world.troubled_until``
    says when the latest is over."""
    rng = world.rng
    if world.profile == "calm":
        kinds, count = (pause,), rng.choice((0, 0, 1))
    elif world.profile == "clocks":
        kinds, count = CLOCKS, rng.randint(2, 6)
    elif world.profile == "absence":
        kinds, count = ABSENCE, 1
    elif world.profile == "claims":
        kinds, count = CLAIMS, rng.randint(1, 6)
    elif world.profile == "clones":
        kinds, count = CLONES, rng.randint(1, 3)
    elif world.profile == "large":
        kinds, count = LARGE, rng.randint(0, 2)
    elif world.profile == "disks":
        kinds, count = DISKS, rng.randint(2, 6)
    elif world.profile == "isolation":
        kinds, count = ISOLATION, rng.randint(2, 6)
    elif world.profile == "reuse":
        kinds, count = REUSE, rng.randint(1, 4)
    elif world.profile == "crash":
        kinds, count = CRASH, rng.randint(1, 8)
    else:
        kinds, count = (*CRASH, *CRASH, *NETWORK), rng.randint(1, 8)
        if rng.random() < 0.15:
            kinds = (*kinds, *AMNESIA, *AMNESIA, *AMNESIA)
    # Most of a seed has one or two kinds of trouble, again and again.
    if rng.random() < 0.5:
        kinds = tuple(rng.choice(kinds) for _ in range(2))
    last = 0.0

    def begin(fault: Fault) -> None:
        text, seconds = fault(world)
        world.troubled_until = max(world.troubled_until, world.loop.time() + seconds + 0.5)
        world.faults.append(f"{world.loop.time():.2f}: {text}")
        world.trace("fault", None, text)

    for _ in range(count):
        at = rng.uniform(FIRST, 3.0 if world.profile == "clocks" else LAST)  # later most work is done
        if world.profile == "absence":
            at = 3.5  # the framework has subscribed
        world.loop.after(at, begin, rng.choice(kinds))
        last = max(last, at)
    return last
