"""Settings: flag > ``BMESOS_*`` variable > ``./bmesos.toml`` > default.

Secrets may come from files: ``BMESOS_BROKER_URL_FILE`` names a file with the broker's URL, and so for
``BMESOS_STORE_URL_FILE`` and ``BMESOS_URL_FILE``. URLs are held as ``SecretStr``, and :func:`urls.redact`
takes the password out of whatever is shown to people.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from broker_mesos.errors import InvalidInput
from broker_mesos.runtime.urls import check_url

PREFIX = "BMESOS_"
CONFIG_FILE = Path("bmesos.toml")
DEFAULT_URL = "http://127.0.0.1:5050"
DEFAULT_CELLS = 4
"""Number of cells of a new cluster for which none is given."""

_SECRETS = ("url", "broker_url", "store_url")


def _url(*schemes: str, example: str) -> AfterValidator:
    def check(secret: SecretStr) -> SecretStr:
        return SecretStr(check_url(secret.get_secret_value(), schemes, example))

    return AfterValidator(check)


ClientUrl = Annotated[SecretStr, _url("http", "https", "amqp", "amqps", example=DEFAULT_URL)]
BrokerUrl = Annotated[SecretStr, _url("amqp", "amqps", example="amqp://user:password@host:5672/")]
StoreUrl = Annotated[SecretStr, _url("redis", "rediss", example="redis://:password@host:6379/0")]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]
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


class Settings(BaseSettings):
    """All settings of daemons and clients; build them with :func:`load`. Times are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    cluster: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "default"
    """The name that keeps clusters on the same servers apart."""
    url: ClientUrl = SecretStr(DEFAULT_URL)
    """Where a client finds the cluster: ``http://`` (``bmesos local`` or ``bmesos web``), or ``amqp://``."""
    broker_url: BrokerUrl | None = None
    """RabbitMQ, for daemons and frameworks: ``amqp://user:password@host:5672/``, or ``amqps://``."""
    store_url: StoreUrl | None = None
    """Redis, for masters and built-in frameworks: ``redis://:password@host:6379/0``, or ``rediss://``."""
    cells: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of cells; by default what the cluster has, and 4 for a new one."""
    weights: Weights = Field(default_factory=dict)
    """Weights of roles in the fair share, as ``prod:2;dev:0.5``; a role without one has 1."""
    reserve: Reserve = Field(default_factory=dict)
    """What an agent keeps for roles, as ``eng=cpus:2;mem:1024 ops=cpus:1``."""
    oversubscribe: bool = False
    """Whether an agent lends a second time, as revocable, what its tasks hold and do not use."""
    max_output: Count = 1024
    """MB that each of a task's output files may take on an agent's disk; its head and its latest part are kept."""
    min_free_disk: Count = 1024
    """MB of an agent's disk that stay free, or a 20th of it if that is less: below it starts no task, and ends those
    that write the most."""
    connect_timeout: Seconds = 10.0
    """Seconds for which a daemon tries to reach its servers when it starts."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged: ``debug``, ``info``, ``warning`` or ``error``. Log lines go to stderr."""
    log_format: Literal["text", "json"] = "text"
    """``text``, or ``json`` for one JSON object a line."""

    # The time limits of the design, section 6. The first block is `core.limits.Limits`, name by name.
    agent_beat: Seconds = 5.0
    """Seconds between two heartbeats of an agent; more in a cell of over 50 times as many agents."""
    agent_missed: Count = 5
    """Heartbeats in a row that an agent may miss before it is unreachable."""
    framework_beat: Seconds = 2.0
    """Seconds between two heartbeats that the cells expect of a framework's process."""
    framework_missed: Count = 5
    """Heartbeats in a row that a framework may miss before it is disconnected."""
    offer_timeout: Seconds = 10.0
    """Seconds after which an unanswered offer ends."""
    consumer_check: Seconds = 0.3
    """Seconds after which a cell checks that the queue of an unanswered offer has a consumer."""
    refuse: Seconds = 5.0
    """Seconds for which a declined offer is hidden from a framework that names no time."""
    allocation: Seconds = 1.0
    """Seconds between two rounds of allocation over all agents; what changes in between is allocated at once."""
    gang_patience: Seconds = 3.0
    """Seconds that a gang waits for room like others, before free room may be kept for it."""
    gang_hold: Seconds = 30.0
    """Seconds for which free room is kept for one gang, before it is the next one's turn."""
    completed: Count = 1_000
    """Ended tasks of each framework that a cell's owner remembers."""
    forget_agent: Seconds = 14 * 86_400.0
    """Seconds after which an unreachable agent without tasks is forgotten."""

    store_silence: Seconds = 3.0
    """Seconds without an answer from Redis after which a cell's owner stops deciding."""
    master_heartbeat: Seconds = 2.0
    """Seconds of the AMQP heartbeat of masters, which decides how soon a frozen one is found."""
    agent_heartbeat: Seconds = 10.0
    """Seconds of the AMQP heartbeat of agents, frameworks and clients."""
    kill_grace: Seconds = 3.0
    """Seconds between SIGTERM and SIGKILL of a task that names no grace."""
    outcomes_kept: Seconds = 600.0
    """Seconds for which an agent remembers an outcome after it was acknowledged."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, variables, files that variables name, then (below) the file's values and defaults."""
        return init_settings, env_settings, _SecretFiles(settings_cls)

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
        """The broker's URL, or InvalidInput that says how to give one."""
        if self.broker_url is None:
            raise InvalidInput(
                "no broker is named: set BMESOS_BROKER_URL (amqp://user:password@host:5672/) or give "
                "--broker-url; without servers of your own, start `bmesos local`"
            )
        return self.broker_url.get_secret_value()

    def need_store(self) -> str:
        """The store's URL, or InvalidInput that says how to give one."""
        if self.store_url is None:
            raise InvalidInput(
                "no store is named: set BMESOS_STORE_URL (redis://host:6379/0) or give --store-url; "
                "without servers of your own, start `bmesos local`"
            )
        return self.store_url.get_secret_value()


class _SecretFiles(PydanticBaseSettingsSource):
    """``BMESOS_BROKER_URL_FILE=/run/secrets/broker``: the value is the file's text, stripped."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _SECRETS:
            variable = _variable(name) + "_FILE"
            path = _environ(variable)
            if not path:
                continue
            if _environ(_variable(name)):
                raise InvalidInput(f"both {_variable(name)} and {variable} are set: keep one")
            try:
                found[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(f"{variable}: cannot read {path}: {_reason(error)}") from None
        return found


def load(config: Path | None = None, **flags: Any) -> Settings:
    """The settings of this process. Flags that are None count as not given.

    ``config`` is a TOML file that must exist; None is ``./bmesos.toml`` if there is one. Raises InvalidInput,
    in one line that names the flag, variable or file the bad value came from.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    path = config if config is not None else CONFIG_FILE
    stored = _read(path, required=config is not None)
    for name in stored:
        if name not in Settings.model_fields:
            raise InvalidInput(f"{path}: unknown setting {name!r}{_similar(name)}")
    above = {name for name in stored if name in given or _from_environment(name)}
    values = {**{name: value for name, value in stored.items() if name not in above}, **given}
    try:
        return Settings(**values)
    except ValidationError as error:
        from broker_mesos.core.protocol.wire import wording

        finding = error.errors(include_url=False, include_input=False)[0]
        name = str(finding["loc"][0]) if finding["loc"] else ""
        what = wording(finding["type"], finding.get("ctx", {}), str(finding["msg"]))
        if name == "cluster":
            what = "use 1 to 40 letters, digits, '-' or '_', as in 'lab-2'"
        raise InvalidInput(f"{_source(name, given, stored, path)}: {what}") from None


def _source(name: str, given: Mapping[str, Any], stored: Mapping[str, Any], path: Path) -> str:
    if name in given:
        return f"--{name.replace('_', '-')}"
    if _environ(_variable(name)):
        return _variable(name)
    if _environ(_variable(name) + "_FILE"):
        return f"{_variable(name)}_FILE"
    return f"{path}: {name}" if name in stored else name


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if required:
            raise InvalidInput(f"no such settings file: {path}") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {_reason(error)}") from None


def _similar(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _environ(variable: str) -> str:
    # Variables match in any case, as pydantic-settings reads them; errors name the usual spelling.
    value = os.environ.get(variable)
    if value is None:
        value = next((text for key, text in os.environ.items() if key.upper() == variable), "")
    return value


def _from_environment(name: str) -> bool:
    variable = _variable(name)
    return bool(_environ(variable)) or (name in _SECRETS and bool(_environ(f"{variable}_FILE")))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not text"
