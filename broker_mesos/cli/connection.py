"""The options for encrypted connections, which all commands and daemons take that connect to a server."""

# No `from __future__ import annotations`: it would turn the declarations into text.
from typing import Annotated, TypedDict

from broker_mesos.cli.declare import Option

TlsCa = Annotated[
    str | None, Option("--tls-ca", metavar="FILE", help="The CA of the servers, in PEM form (BMESOS_TLS_CA).")
]
TlsCert = Annotated[
    str | None,
    Option("--tls-cert", metavar="FILE", help="A certificate to show to servers that want one (BMESOS_TLS_CERT)."),
]
TlsKey = Annotated[str | None, Option("--tls-key", metavar="FILE", help="Its private key (BMESOS_TLS_KEY).")]
InsecurePlaintext = Annotated[
    bool | None,
    Option(
        "--insecure-plaintext/--no-insecure-plaintext",
        help="Allow connections without TLS to other hosts (no; BMESOS_INSECURE_PLAINTEXT).",
        show_default=False,
    ),
]


class ConnectionOptions(TypedDict, total=False):
    """The options of a daemon, as ``**connection: Unpack[ConnectionOptions]``."""

    tls_ca: TlsCa
    tls_cert: TlsCert
    tls_key: TlsKey
    insecure_plaintext: InsecurePlaintext
