"""The options of a job, declared once: the flags of ``bmesos submit``, ``run`` and ``plan``, the keys of job
files and the keyword arguments of ``Client.submit`` are all derived from here.

A type that takes long to import is written as text. It is read by type checkers only.
"""

# No `from __future__ import annotations`: it would turn the declarations into text as well.
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict, get_args

if TYPE_CHECKING:
    from os import PathLike

    from broker_mesos.core.model.attributes import Constraint
    from broker_mesos.core.model.resources import Resources

Number = int | float | str
ArrayLike = int | str | Sequence[int]


class JobOption(NamedTuple):
    """How one option of a job is given on a command line and in a job file."""

    flag: str
    """``--on/--off`` for a switch."""
    metavar: str | None
    help: str
    kind: Any
    """The type of the flag's value."""
    file: tuple[type, ...]
    """The types that a job file may give it."""


class TaskOptions(TypedDict, total=False):
    """What can be said of a single task. What is not given has the default named in the help text."""

    name: Annotated[str, JobOption("--name", None, "A name for people; the command's by default.", str, (str,))]
    cpus: Annotated[Number, JobOption("--cpus", "N", "CPUs of each task (1).", float, (int, float))]
    mem: Annotated[Number, JobOption("--mem", "SIZE", "Memory: MB, or 512M, 2G (128).", str, (int, float, str))]
    disk: Annotated[Number | None, JobOption("--disk", "SIZE", "Disk: MB, or 512M, 2G.", str, (int, float, str))]
    gpus: Annotated[Number | None, JobOption("--gpus", "N", "GPUs of each task.", float, (int, float))]
    ports: Annotated[
        int | None,
        JobOption("--ports", "N", "Free ports of each task: $PORT0, $PORT1 and so on in its environment.", int, (int,)),
    ]
    port_names: Annotated[
        str | Iterable[str],
        JobOption(
            "--port-name",
            "NAME",
            "A name for a port, as http: its number is in $PORT_HTTP too; repeatable, a port for each.",
            list[str],
            (str, list),
        ),
    ]
    resources: Annotated[
        "str | Resources | None",
        JobOption("--resources", "TEXT", "Any resources, as 'cpus:1;licences:2'.", str, (str,)),
    ]
    env: Annotated[
        Mapping[str, object] | None,
        JobOption("--env", "K=V", "An environment variable; repeatable.", list[str], (dict,)),
    ]
    chdir: Annotated[
        str | None,
        JobOption(
            "--chdir",
            "DIR",
            "Where it runs: a folder of the agent's machine, or one in the sandbox, without a slash first.",
            str,
            (str,),
        ),
    ]
    stdin: Annotated[
        "str | bytes | PathLike[str] | None",
        JobOption("--stdin", "FILE", "A file here (128 KiB) that it reads as its stdin; - for ours.", str, (str,)),
    ]
    stdout: Annotated[
        str | None,
        JobOption(
            "--stdout",
            "PATTERN",
            "A name in the sandbox for what it writes to stdout: %j job, %a index, %n name, %u user.",
            str,
            (str,),
        ),
    ]
    stderr: Annotated[str | None, JobOption("--stderr", "PATTERN", "The same for stderr.", str, (str,))]
    max_output: Annotated[
        Number | None,
        JobOption(
            "--max-output",
            "SIZE",
            "Each output file's size on the agent: MB, or 64M, 2G (the agent's max_output); the middle is cut out.",
            str,
            (int, float, str),
        ),
    ]
    task_user: Annotated[
        str | None,
        JobOption(
            "--task-user",
            "NAME",
            "The user of the agent's machine as which it runs (the agent's default).",
            str,
            (str,),
        ),
    ]
    retries: Annotated[int, JobOption("--retries", "N", "Attempts after a failed one (0).", int, (int,))]
    retry_on: Annotated[
        str | int | Iterable[int] | None,
        JobOption(
            "--retry-on",
            "CODES",
            "Use a retry after these exit codes only, as 75,137 (128+N: signal N).",
            str,
            (str, int, list),
        ),
    ]
    time_limit: Annotated[
        Number | None,
        JobOption(
            "--time-limit",
            "TIME",
            "How long one run of a task may take: 30s, 5m, 2h, 1d or HH:MM:SS; a number is seconds.",
            str,
            (int, float, str),
        ),
    ]
    rerun: Annotated[
        bool,
        JobOption(
            "--rerun/--no-rerun",
            None,
            "Run again elsewhere what was on an agent that is lost (it may run twice); else wait for it.",
            bool,
            (bool,),
        ),
    ]
    revocable: Annotated[
        bool,
        JobOption(
            "--revocable/--no-revocable",
            None,
            "Run only on what agents lend a second time; what is evicted there runs again.",
            bool,
            (bool,),
        ),
    ]
    priority: Annotated[int, JobOption("--priority", "N", "Higher goes first (0).", int, (int,))]
    role: Annotated[
        str | None,
        JobOption("--role", "ROLE", "The role that its resources count for, as eng/db (*).", str, (str,)),
    ]
    limit: Annotated[
        str | Iterable[str] | Mapping[str, Number] | None,
        JobOption(
            "--limit",
            "K=V",
            "What a task may use at most, as cpus=4,mem=2G (mem: --mem if it is given; mem=inf: not limited).",
            list[str],
            (str, dict),
        ),
    ]
    require_isolation: Annotated[
        str | None,
        JobOption(
            "--require-isolation",
            "LEVEL",
            "Run only where tasks are held to limits, or sandboxed (as the agent holds all tasks).",
            str,
            (str,),
        ),
    ]
    pids: Annotated[
        int | None,
        JobOption("--pids", "N", "Processes and threads of each task (4096, where tasks are held to it).", int, (int,)),
    ]
    rlimit: Annotated[
        str | Iterable[str] | Mapping[str, int | str] | None,
        JobOption("--rlimit", "K=V", "Resource limits of setrlimit, as nofile=65536,core=0.", list[str], (str, dict)),
    ]
    pin: Annotated[
        bool,
        JobOption("--pin/--no-pin", None, "CPUs of its own, which no other pinned task uses.", bool, (bool,)),
    ]
    network: Annotated[
        str | None,
        JobOption("--network", "NAME", "none: no network but its own loopback; or host (host).", str, (str,)),
    ]
    rootfs: Annotated[
        str | None,
        JobOption("--rootfs", "PATH", "A folder or tar archive on the agents that is its root.", str, (str,)),
    ]
    image: Annotated[
        str | None,
        JobOption("--image", "REF", "A container image that is its root, as python:3.13.", str, (str,)),
    ]
    oom: Annotated[
        str | None,
        JobOption(
            "--oom",
            "WHAT",
            "When one of its processes is killed for memory: kill the task, or ignore (kill).",
            str,
            (str,),
        ),
    ]
    constraints: Annotated[
        "str | Constraint | Iterable[str | Constraint]",
        JobOption("--constraint", "TEXT", "Which agents, as 'rack==r1'; repeatable.", list[str], (str, list)),
    ]
    prefer: Annotated[
        "str | Constraint | Iterable[str | Constraint]",
        JobOption(
            "--prefer", "TEXT", "Which agents to wait for, as 'rack==r1'; repeatable: any.", list[str], (str, list)
        ),
    ]
    prefer_hosts: Annotated[
        str | Iterable[str],
        JobOption("--prefer-host", "HOST", "The same for a host; repeatable.", list[str], (str, list)),
    ]
    locality_wait: Annotated[
        Number | None,
        JobOption("--locality-wait", "TIME", "How long before any other agent will do (5s).", str, (int, float, str)),
    ]


class JobOptions(TaskOptions, total=False):
    """What can be said of a job."""

    array: Annotated[
        ArrayLike | None,
        JobOption(
            "--array",
            "50|0-9|1-10:3,20",
            "Many tasks, each with its BMESOS_ARRAY_INDEX; 1-100%5: 5 of them at a time.",
            str,
            (int, str),
        ),
    ]
    most: Annotated[
        int | None,
        JobOption(
            "--most", "N", "At most so many tasks of the array at a time on each agent (see --per).", int, (int,)
        ),
    ]
    per: Annotated[
        str | None,
        JobOption(
            "--per",
            "NAME",
            "The attribute by whose values --most counts, as rack, or hostname (agent).",
            str,
            (str,),
        ),
    ]
    after: Annotated[
        str | Iterable[str],
        JobOption(
            "--after",
            "JOB,JOB",
            "Begin when these jobs have succeeded; any:JOB: when it has ended in any way.",
            str,
            (str, list),
        ),
    ]
    gang: Annotated[
        bool,
        JobOption("--gang/--no-gang", None, "The whole array begins at once, or not at all.", bool, (bool,)),
    ]


def declared_in(options: type) -> dict[str, JobOption]:
    """The options of one of the classes above by their names, in the order of their declaration."""
    return {name: get_args(annotation)[1] for name, annotation in options.__annotations__.items()}
