"""``bmesos certs``: a development CA and the certificates of the services."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from broker_mesos.cli import show
from broker_mesos.cli.declare import Argument, Option
from broker_mesos.cli.options import Call
from broker_mesos.runtime.tls import date_text

if TYPE_CHECKING:
    from broker_mesos.certs.issuing import Pair

DEFAULT_DIR = Path("certs")
Dir = Annotated[Path, Option("--dir", metavar="DIR", help="The folder of the CA.")]


def ca(call: Call, dir: Dir = DEFAULT_DIR) -> None:
    """Make a CA for development and staging.

    It writes ca.crt, which clients are given as tls_ca, and ca.key, which only `bmesos certs` needs: keep it away from
    the machines of the cluster. Nothing is overwritten.
    """
    from broker_mesos.certs.folder import Folder

    made = Folder(dir).make_authority()
    _print(call, dir, [("ca", made)], "made")


def issue(
    call: Call,
    name: Annotated[
        str, Argument(metavar="NAME", help="The service, as rabbitmq; its files are NAME.crt and NAME.key.")
    ],
    san: Annotated[
        list[str] | None,
        Option("--san", metavar="NAME|IP", help="A further name or address under which it is reached; repeatable."),
    ] = None,
    days: Annotated[int, Option("--days", min=1, max=825, metavar="N", help="How long it is valid, in days.")] = 90,
    dir: Dir = DEFAULT_DIR,
) -> None:
    """Make the certificate of a service, signed by the CA.

    It is for NAME and for each --san, for servers and clients alike. Nothing is overwritten.
    """
    from broker_mesos.certs.folder import Folder

    made = Folder(dir).issue(name, san or [], days)
    _print(call, dir, [(name, made)], "made")


def renew(
    call: Call,
    names: Annotated[
        list[str] | None,
        Argument(metavar="NAME", help="Which ones, as ca or rabbitmq; without any, all that end soon."),
    ] = None,
    within: Annotated[int, Option("--within", min=0, max=825, metavar="DAYS", help="What soon means, in days.")] = 30,
    new_key: Annotated[bool, Option("--new-key", help="Make new keys for the services as well.")] = False,
    dir: Dir = DEFAULT_DIR,
) -> None:
    """Renew certificates that end soon, under the same names.

    They are valid for 90 days from now on. Keys stay, so that only NAME.crt changes; the CA keeps its key in any case,
    and what it has signed stays trusted. `bmesos web` reads its files again on SIGHUP, daemons with their next
    connection; RabbitMQ and Redis have commands of their own for it.
    """
    from broker_mesos.certs.folder import Folder

    _print(call, dir, Folder(dir).renew(names or [], within, new_key=new_key), "renewed")


def listing(call: Call, dir: Dir = DEFAULT_DIR) -> None:
    """List the CA and its certificates, with their names and dates."""
    from broker_mesos.certs.folder import Folder

    found = list(Folder(dir).all())
    if call.json:
        show.print_json([_data(dir, *each) for each in found])
        return
    rows = [
        (name, ", ".join(pair.names) or "-", date_text(pair.ends), f"{(pair.ends - time.time()) / 86_400:.0f}")
        for name, pair in found
    ]
    show.table(["NAME", "FOR", "ENDS", ">DAYS"], rows, drop=["ENDS"])


def _print(call: Call, dir: Path, done: list[tuple[str, Pair]], verb: str) -> None:
    if call.json:
        show.print_json([_data(dir, *each) for each in done])
        return
    for name, pair in done:
        names = f" for {', '.join(pair.names)}" if pair.names else ""
        show.line(f"{verb} {dir / name}.crt{names}, until {date_text(pair.ends)}; its key is {dir / name}.key")
    if not done:
        show.line("nothing ends soon")


def _data(dir: Path, name: str, pair: Pair) -> dict[str, Any]:
    return {
        "name": name,
        "certificate": str(dir / f"{name}.crt"),
        "key": str(dir / f"{name}.key"),
        "names": list(pair.names),
        "ends": pair.ends,
    }
