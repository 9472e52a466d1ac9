"""The operator API over HTTP."""

from __future__ import annotations

from broker_mesos.web.app import build_app
from broker_mesos.web.server import WebServer

__all__ = ["WebServer", "build_app"]
