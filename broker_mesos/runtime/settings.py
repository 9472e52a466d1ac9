"""The settings of daemons and clients. A flag precedes a ``BMESOS_*`` variable, ``./bmesos.toml`` and the default.

Secrets may come from files: ``BMESOS_BROKER_URL_FILE`` names a file with the broker's URL, and so for each setting that
is a secret. URLs are held as ``SecretStr``, and :func:`urls.redact` takes the password out of whatever is shown to
people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from broker_mesos.core.model.host_path import parse_host_path
from broker_mesos.core.model.registry_auth import check_registry_auth
from broker_mesos.core.model.task_user import check_task_user
from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.secrets import MASK
from broker_mesos.runtime.settings_sources import PREFIX, Sources, odd_variables, refuse
from broker_mesos.runtime.tls import TlsFiles
from broker_mesos.runtime.urls import check_url, has_user, management_url, plaintext_problem, redact

CONFIG_FILE = Path("bmesos.toml")
DEFAULT_URL = "http://127.0.0.1:5050"
DEFAULT_CELLS = 4
"""The number of cells of a new cluster for which none is given."""


def _url(*schemes: str, example: str) -> AfterValidator:
    def check(secret: SecretStr) -> SecretStr:
        return SecretStr(check_url(secret.get_secret_value(), schemes, example))

    return AfterValidator(check)


ClientUrl = Annotated[SecretStr, _url("http", "https", "amqp", "amqps", example=DEFAULT_URL)]
BrokerUrl = Annotated[SecretStr, _url("amqp", "amqps", example="amqp://user:password@host:5672/")]
StoreUrl = Annotated[SecretStr, _url("redis", "rediss", example="redis://:password@host:6379/0")]
EnrollUrl = Annotated[SecretStr, _url("http", "https", example="https://enroll.example:5055")]
ManagementUrl = Annotated[SecretStr, _url("http", "https", example="https://rabbitmq.example:15671")]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]
Interval = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
"""In seconds; it is sent in messages, which allow a day."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _weights(value: object) -> object:
    """``prod:2;dev:0.5``, or a table in the settings file."""
    if not isinstance(value, str):
        return value
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in value.split(";"))):
        role, separator, weight = part.rpartition(":")
        if not separator or not role:
            raise ValueError(f"{part!r}: write ROLE:WEIGHT, as in prod:2")
        found[role.strip()] = weight.strip()
    return found


Weights = Annotated[
    dict[str, Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]],
    NoDecode,
    BeforeValidator(_weights),
]


def _reserve(value: object) -> object:
    """``eng=cpus:2;mem:1024 ops=cpus:1``, a list of such parts, or a table in the settings file."""
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list | tuple):
        return value
    found: dict[str, str] = {}
    for part in value:
        role, separator, resources = str(part).partition("=")
        if not separator or not role or role in found:
            raise ValueError(f"{part!r}: write ROLE=RESOURCES, each role once, as in 'eng=cpus:2;mem:1024'")
        found[role] = resources
    return found


Reserve = Annotated[dict[str, str], NoDecode, BeforeValidator(_reserve)]


def _names(value: object) -> object:
    """``eng ops``, or a list of names in the settings file."""
    return value.split() if isinstance(value, str) else value


def _host_path(text: str) -> str:
    parse_host_path(text)
    return text


def _folder(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text[:80]!r}: write absolute paths, as in /srv/images")
    return text


UserName = Annotated[str, AfterValidator(check_task_user)]
UserNames = Annotated[tuple[UserName, ...], NoDecode, BeforeValidator(_names)]


Folders = Annotated[
    tuple[Annotated[str, AfterValidator(_folder)], ...], NoDecode, BeforeValidator(_names), Field(max_length=64)
]


def _engine(text: str) -> str:
    if text not in ("auto", "none") and not text.startswith("/"):
        raise ValueError(f"{text[:80]!r}: write auto, none, or the path of a socket, as in /run/docker.sock")
    return text


def _registry_auth(secret: SecretStr) -> SecretStr:
    check_registry_auth(secret.get_secret_value())
    return secret


EngineSocket = Annotated[str, AfterValidator(_engine)]
RegistryAuth = Annotated[SecretStr, AfterValidator(_registry_auth)]
HostPaths = Annotated[
    tuple[Annotated[str, AfterValidator(_host_path)], ...], NoDecode, BeforeValidator(_names), Field(max_length=64)
]


class Settings(BaseSettings):
    """All settings of daemons and clients; :func:`load` builds them. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    cluster: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "default"
    """The name of the cluster, which separates clusters on the same servers."""
    url: ClientUrl = SecretStr(DEFAULT_URL)
    """The URL under which a client reaches the cluster: ``http://`` (``bmesos local`` or ``bmesos web``), or
    ``amqp://``."""
    broker_url: BrokerUrl | None = None
    """The URL of RabbitMQ, for daemons and frameworks: ``amqp://user:password@host:5672/``, or ``amqps://``."""
    store_url: StoreUrl | None = None
    """The URL of Redis, for masters and built-in frameworks: ``redis://:password@host:6379/0``, or ``rediss://``."""
    tls_ca: Path | None = None
    """The PEM file of the authorities that sign the certificates of ``amqps://``, ``rediss://`` and ``https://``
    servers; by default those that the machine trusts."""
    tls_cert: Path | None = None
    """The PEM file of the certificate to show to servers that require one of their clients."""
    tls_key: Path | None = None
    """The PEM file of the private key of ``tls_cert``, if it is not in the same file."""
    insecure_plaintext: bool = False
    """Whether connections without TLS to (and, for ``bmesos web``, from) other hosts are allowed; on this machine they
    always are."""
    cells: Annotated[int, Field(ge=1, le=1024)] | None = None
    """The number of cells; by default the number that the cluster has, and 4 for a new cluster."""
    weights: Weights = Field(default_factory=dict)
    """Weights of roles in the fair share, as ``prod:2;dev:0.5``; a role without one has weight 1."""
    reserve: Reserve = Field(default_factory=dict)
    """Resources that an agent reserves for roles, as ``eng=cpus:2;mem:1024 ops=cpus:1``."""
    oversubscribe: bool = False
    """Whether an agent lends resources that its tasks occupy and do not use a second time, as revocable."""
    max_output: Count = 1024
    """Maximum size of each output file of a task on an agent's disk, in MB; the head and the latest part of the
    output are kept."""
    max_task_output: Count = 10_240
    """The most that a task may ask for in place of ``max_output`` on an agent (``bmesos submit --max-output``), in MB,
    unless ``max_output`` is more; one that asks for more gets this much."""
    min_free_disk: Count = 1024
    """Part of an agent's disk that stays free, in MB, or a 20th of the disk if that is less: below it the agent
    starts no task, and ends the tasks that write the most."""
    sandbox_keep: Seconds = 7 * 86_400.0
    """Time for which an agent keeps the sandbox of an ended task after the last write to it, in seconds; less on a disk
    that is more than 75% full, and none at 95%."""
    max_sandboxes: Count = 100_000
    """Maximum number of sandboxes on an agent; beyond it the oldest ones of ended tasks are deleted."""
    keep_failed: bool = False
    """Whether an agent keeps the sandboxes of failed tasks for ``sandbox_keep``, whatever their number and however full
    the disk is."""
    task_user: UserName | None = None
    """The user of the machine as which an agent runs tasks that ask for no other; by default ``bmesos-task`` with
    ``security = "on"``, and the agent's own user without."""
    task_users: UserNames = ()
    """Further users that tasks may ask for on an agent (``bmesos submit --task-user``), as ``eng ops``."""
    same_user: bool = False
    """Whether an agent with ``security = "on"`` runs tasks as its own user, so that they can read what it can read."""
    allow_root: bool = False
    """Whether an agent may run tasks as root, with ``security = "on"`` or a ``task_user``."""
    isolation: Literal["none", "limits", "sandboxed", "auto"] = "none"
    """Whether an agent has the kernel hold tasks to limits, by cgroups: ``limits``, and it does not start where that is
    not possible; ``sandboxed``, so that tasks also see only their own files and processes; ``auto``, limits where that
    is possible; or ``none``."""
    host_paths: HostPaths = ()
    """What sandboxed tasks of an agent see of its machine besides /usr, /etc and /opt, as
    ``PATH[:TARGET][:ro|rw] ...``, such as ``/data:rw /srv/models``; read-only by default."""
    rootfs_roots: Folders = ()
    """The folders of an agent's machine from which tasks may take a root file system (``--rootfs``), a folder or an
    archive below one of them, as ``/srv/images``; by default none."""
    container_engine: EngineSocket = "auto"
    """The container engine that runs tasks of an agent in containers (``--image``): the path of its socket; ``auto``,
    that of Docker or Podman if there is one; or ``none``."""
    registry_auth: RegistryAuth | None = None
    """The credentials with which an agent pulls images: JSON as in Docker's ``config.json``, with ``auths``; by default
    those of the agent's user."""
    pull_timeout: Seconds = 600.0
    """Time within which an agent must have pulled an image, in seconds."""
    gpu_devices: str = "auto"
    """The GPUs of an agent, which it gives to tasks with ``gpus``: ``auto``, those of NVIDIA that are there; ``none``;
    or ``ID=PATH ...``, as in ``0=/dev/nvidia0 1=/dev/nvidia1``."""
    enforce_ports: bool | None = None
    """Whether tasks of an agent may listen only on TCP ports that they hold: ``true``, all that are held to limits;
    ``false``, none; by default those that are sandboxed."""
    exec_enabled: bool = True
    """Whether an agent lets commands be run beside its tasks (``bmesos exec``), by those who have a right to."""
    security: Literal["off", "on"] = "off"
    """Whether the senders of messages are checked: ``on`` needs a user of its own on the broker for each daemon
    (``bmesos deploy rabbitmq-definitions``), and a ``policy``. All daemons have the same value."""
    policy: Path | None = None
    """A TOML file with the principals of the cluster and their rights, for masters, built-in frameworks and web
    servers; all of them have the same one. It is read again on SIGHUP. It needs ``security = "on"``, and with that they
    do not start without one; otherwise everybody may do everything."""
    token: SecretStr | None = None
    """The token that shows a web server who this client is (``bmesos token create``)."""
    enroll_url: EnrollUrl | None = None
    """The URL of the enrolment server (``bmesos enroll-server``), from which a new agent gets its user on the broker;
    ``broker_url`` then has no user."""
    join_token: SecretStr | None = None
    """The token with which a new agent enrols itself (``bmesos token create --join``)."""
    session_key: SecretStr | None = None
    """The key with which web servers sign the sessions of browsers, at least 32 characters; all web servers of a
    cluster have the same one. By default each makes its own when it starts, and its sessions end with it."""
    management_url: ManagementUrl | None = None
    """The URL of RabbitMQ's management API, for the enrolment server; by default it is on the host of ``broker_url``,
    at port 15671 with TLS and at 15672 without. Without a user in it, that of ``broker_url`` is the administrator."""
    connect_timeout: Seconds = 10.0
    """Time for which a daemon tries to reach its servers when it starts, in seconds."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged: ``debug``, ``info``, ``warning`` or ``error``. Log lines go to stderr."""
    log_format: Literal["text", "json"] = "text"
    """The format of log lines: ``text``, or ``json`` for one JSON object on each line."""
    health_file: Path | None = None
    """A file that a daemon touches every 10 s as long as it works, for probes: one that is older than 30 s is that of
    a stuck daemon."""

    # The time limits of the design, section 6. The first block is `core.limits.Limits`, name by name.
    agent_beat: Interval = 5.0
    """Interval between two heartbeats of an agent, in seconds; longer in a cell with more than 50 times as many
    agents."""
    agent_missed: Count = 5
    """Number of consecutive heartbeats that an agent may miss before it is unreachable."""
    framework_beat: Interval = 2.0
    """Interval at which the cells expect heartbeats of a framework's process, in seconds."""
    framework_missed: Count = 5
    """Number of consecutive heartbeats that a framework may miss before it is disconnected."""
    offer_timeout: Seconds = 10.0
    """Time after which an unanswered offer ends, in seconds."""
    consumer_check: Seconds = 0.3
    """Time after which a cell checks that the queue of an unanswered offer has a consumer, in seconds."""
    refuse: Seconds = 5.0
    """Time for which a declined offer is hidden from a framework that states no time, in seconds."""
    allocation: Seconds = 1.0
    """Interval between two rounds of allocation over all agents, in seconds; changes in between are allocated at
    once."""
    gang_patience: Seconds = 3.0
    """Time for which a gang waits for free resources like other demand, before free resources may be collected for
    it, in seconds."""
    gang_hold: Seconds = 30.0
    """Maximum time for which free resources are collected for one gang before the next gang has its turn, in
    seconds."""
    completed: Count = 1_000
    """Number of ended tasks of each framework that the owner of a cell keeps in memory."""
    forget_agent: Seconds = 14 * 86_400.0
    """Time after which an unreachable agent without tasks is removed, in seconds."""

    store_silence: Seconds = 3.0
    """Time without an answer from Redis after which the owner of a cell stops deciding, in seconds."""
    master_heartbeat: Seconds = 2.0
    """Interval of the AMQP heartbeat of masters, in seconds, which decides how soon a frozen master is detected."""
    agent_heartbeat: Seconds = 10.0
    """Interval of the AMQP heartbeat of agents, frameworks and clients, in seconds."""
    kill_grace: Seconds = 3.0
    """Time between SIGTERM and SIGKILL for a task that states no grace, in seconds. It is a setting of the agent."""
    outcomes_kept: Seconds = 600.0
    """Time for which an agent keeps an outcome after it was acknowledged, in seconds."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags precede variables. The caller passes the values of files with the flags, where no variable is set."""
        return init_settings, env_settings

    def limits(self) -> dict[str, Any]:
        """The arguments of ``core.limits.Limits``."""
        names = (
            "agent_beat",
            "agent_missed",
            "framework_beat",
            "framework_missed",
            "offer_timeout",
            "consumer_check",
            "refuse",
            "allocation",
            "gang_patience",
            "gang_hold",
            "completed",
            "forget_agent",
        )
        return {name: getattr(self, name) for name in names}

    def need_broker(self) -> str:
        """The broker's URL. Raises InvalidInput with the ways to give one."""
        if self.broker_url is None:
            raise InvalidInput(
                "no broker is named: set BMESOS_BROKER_URL (amqp://user:password@host:5672/), or name a file with it "
                "in BMESOS_BROKER_URL_FILE; without servers of your own, start `bmesos local`"
            )
        return self._allowed("broker_url", self.broker_url)

    def need_store(self) -> str:
        """The store's URL. Raises InvalidInput with the ways to give one."""
        if self.store_url is None:
            raise InvalidInput(
                "no store is named: set BMESOS_STORE_URL (redis://host:6379/0), or name a file with it in "
                "BMESOS_STORE_URL_FILE; without servers of your own, start `bmesos local`"
            )
        return self._allowed("store_url", self.store_url)

    def need_enrolment(self) -> str:
        """The URL of the enrolment server. Raises InvalidInput if it cannot be used together with other settings."""
        assert self.enroll_url is not None
        if self.security != "on":
            raise InvalidInput("enroll_url needs security=on: otherwise an agent has no user of its own")
        if has_user(self.need_broker()):
            raise InvalidInput(
                "broker_url has a user, and enroll_url is set, which gives the agent one: write broker_url without a "
                "user (amqps://host), or leave enroll_url out"
            )
        return self._allowed("enroll_url", self.enroll_url)

    def need_management(self) -> str:
        """The URL of RabbitMQ's management API. Raises InvalidInput for plaintext that is not allowed."""
        if self.management_url is not None:
            return self._allowed("management_url", self.management_url)
        return management_url(self.need_broker())

    def client_url(self) -> str:
        """The URL for a client. Raises InvalidInput for plaintext that is not allowed."""
        return self._allowed("url", self.url)

    def tls_files(self) -> TlsFiles:
        """The files for TLS."""
        return TlsFiles(*("" if path is None else str(path) for path in (self.tls_ca, self.tls_cert, self.tls_key)))

    def _allowed(self, name: str, secret: SecretStr) -> str:
        url = secret.get_secret_value()
        problem = "" if self.insecure_plaintext else plaintext_problem(url)
        if problem:
            raise InvalidInput(f"{name}: {problem}")
        return url


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(each) for each in get_args(annotation))


SECRETS = tuple(name for name, field in Settings.model_fields.items() if _is_secret(field.annotation))
"""The settings that are secrets. A variable with ``_FILE`` at its end names a file that holds the value."""
TOKENS = tuple(name for name in SECRETS if not name.endswith("url"))
"""The secrets that are shown in no part, as those are that have a password in a URL."""


class Shown(NamedTuple):
    """A setting as it is shown to people."""

    name: str
    value: Any
    """The value, without passwords."""
    origin: str
    """Where the value comes from, as ``Sources.origin`` describes it."""


def load(config: Path | None = None, **flags: Any) -> Settings:
    """The settings of this process. Flags that are None count as not given. ``config`` is a TOML file that must
    exist; with None it is ``./bmesos.toml`` if that exists. Raises InvalidInput, with one line that names the flag,
    variable or file of the invalid value."""
    sources = _sources(config, flags)
    refuse(sources.problems)
    try:
        return Settings(**sources.values())
    except ValidationError as error:
        raise InvalidInput(_findings(error, sources)[0]) from None


def show(config: Path | None = None, **flags: Any) -> list[Shown]:
    """All settings of this process with their origins, and without passwords. Raises InvalidInput as ``load`` does."""
    settings, sources = load(config, **flags), _sources(config, flags)
    return [Shown(name, _shown(name, getattr(settings, name)), sources.origin(name)) for name in Settings.model_fields]


def find_problems(config: Path | None = None, **flags: Any) -> tuple[list[str], list[str]]:
    """Everything that is wrong with the settings of this process, and everything that works and is probably not
    meant: one line each, which names the flag, variable or file."""
    sources = _sources(config, flags)
    problems = list(sources.problems)
    values = sources.values()
    try:
        Settings(**values)
    except ValidationError as error:
        problems += _findings(error, sources)
    secrets = {}
    for name in SECRETS:
        text = str(values.get(name) or "")
        secrets[name] = text if name in TOKENS or redact(text) != text else ""
    return problems, [*sources.warnings(secrets), *odd_variables(Settings.model_fields, SECRETS)]


def _sources(config: Path | None, flags: dict[str, Any]) -> Sources:
    given = {name: value for name, value in flags.items() if value is not None}
    path = config if config is not None else CONFIG_FILE
    return Sources(Settings.model_fields, SECRETS, path, given, required=config is not None, tokens=TOKENS)


def _findings(error: ValidationError, sources: Sources) -> list[str]:
    """One line for each setting with an invalid value."""
    from broker_mesos.core.protocol.wire import wording

    found: dict[str, str] = {}
    for finding in error.errors(include_url=False, include_input=False):
        name = str(finding["loc"][0]) if finding["loc"] else ""
        what = wording(finding["type"], finding.get("ctx", {}), str(finding["msg"]))
        if name == "cluster":
            what = "use 1 to 40 letters, digits, '-' or '_', as in 'lab-2'"
        found.setdefault(name, f"{_place(name, sources)}: {what}")
    return list(found.values())


def _place(name: str, sources: Sources) -> str:
    """The place of an invalid value, as errors name it."""
    origin = sources.origin(name)
    return f"{origin}: {name}" if origin.startswith(str(sources.path)) else name if origin == "default" else origin


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK if name in TOKENS else redact(value.get_secret_value())
    return value
