"""``bmesos config``: shows and checks the settings that commands and daemons have on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Option
from broker_mesos.cli.options import Call
from broker_mesos.errors import BrokerMesosError, InvalidInput, Unavailable

if TYPE_CHECKING:
    from broker_mesos.runtime.settings import Settings

File = Annotated[
    Path | None, Option("--file", metavar="FILE", help="Read this settings file, instead of ./bmesos.toml.")
]


def show_settings(
    call: Call,
    origin: Annotated[
        bool, Option("--origin", help="Show where each value comes from, too.", show_default=False)
    ] = False,
    file: File = None,
) -> None:
    """List all settings with their values.

    A daemon that is started here, with the same variables, gets these values. Passwords are shown as ***.
    """
    from broker_mesos.runtime.settings import show as shown_settings

    found = shown_settings(file, url=call.url, cluster=call.cluster)
    if call.json:
        show.print_json([{"setting": each.name, "value": each.value, "origin": each.origin} for each in found])
        return
    columns = ["SETTING", "VALUE", *(["ORIGIN"] if origin else [])]
    rows = [(each.name, _text(each.value), *([each.origin] if origin else [])) for each in found]
    show.table(columns, rows, drop=())


def check(
    call: Call,
    connect: Annotated[
        bool, Option("--connect", help="Connect to the servers that are named, too.", show_default=False)
    ] = False,
    file: File = None,
) -> int:
    """Report every problem of the settings, one on each line.

    Reads the settings file, the variables, and the files that variables name.
    Ends with 0 if there is no problem (warnings do not count), with 2 if there is one, and with 4 if only a server
    does not answer.
    """
    from broker_mesos.runtime.settings import find_problems, load
    from broker_mesos.runtime.settings import show as shown_settings

    flags = {"url": call.url, "cluster": call.cluster}
    problems, warnings = find_problems(file, **flags)
    lines = [("error", each) for each in problems] + [("warning", each) for each in warnings]
    code = InvalidInput.exit_code if problems else 0
    if not problems:
        origins = dict.fromkeys(each.origin for each in shown_settings(file, **flags) if each.origin != "default")
        lines.append(("ok", f"the settings are valid: {', '.join(origins) or 'all have their defaults'}"))
    if connect and not problems:
        answers = _connect(call, load(file, **flags))
        lines += answers
        code = Unavailable.exit_code if any(level == "error" for level, _ in answers) else 0
    if call.json:
        show.print_json([{"level": level, "found": text} for level, text in lines])
    else:
        for level, text in lines:
            print(f"{level}: {show.clean(text)}")
    return code


def _connect(call: Call, settings: Settings) -> list[tuple[str, str]]:
    """A line about each server that the settings name."""
    import asyncio

    from broker_mesos.wiring.trial import try_servers

    found = []
    for name, report in zip(("broker_url", "store_url"), asyncio.run(try_servers(settings)), strict=True):
        if report is not None:
            found.append(("error", report.error) if report.error else ("ok", f"{name}: {report.server} answers"))
    if "url" in settings.model_fields_set:
        try:
            call.client().cluster()
            found.append(("ok", "url: the cluster answers"))
        except BrokerMesosError as error:
            found.append(("error", f"url: {error}"))
    if not found:
        found.append(("warning", "no server is named: set BMESOS_URL, BMESOS_BROKER_URL or BMESOS_STORE_URL"))
    return found


def _text(value: Any) -> str:
    """A value as it is written into a variable."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, Mapping):
        if any(isinstance(each, str) for each in value.values()):
            return " ".join(f"{name}={each}" for name, each in value.items())
        return ";".join(f"{name}:{each:g}" for name, each in value.items()) or "-"
    return "-" if value is None else str(value)
