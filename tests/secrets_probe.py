"""A process that knows many secrets, and lets a careless library print each in every way: ``test_secrets`` reads what
comes out. Its arguments are a file with one URL a line and the log's format."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import sys
import threading
from pathlib import Path

import pika
import structlog
from redis.asyncio import Redis

from broker_mesos.bus.open import CLOCK, open_bus
from broker_mesos.bus.rabbitmq.server import Server
from broker_mesos.runtime import secrets
from broker_mesos.runtime.logs import configure
from broker_mesos.runtime.settings import load
from broker_mesos.store.redis.store import RedisStore


class Careless(Exception):
    """An error of a library, with everything in it."""


def fail(url: str) -> None:
    raise Careless(f"cannot reach {url}", {"url": url})


async def objects_of(url: str) -> None:
    """What is built from a URL, and an error about each."""
    log = structlog.get_logger("objects")
    if url.startswith("amqp"):
        for each in (open_bus(url, name="probe"), Server(url), pika.URLParameters(url)):
            log.warning("an object", it=each, text=str(each))
            print(repr(each), vars(each) if each.__class__ is Server else "", file=sys.stderr)
        return
    for each in (RedisStore(url, cluster="probe", clock=CLOCK), Redis.from_url(url)):
        log.warning("an object", it=each, text=str(each))


async def main() -> None:
    urls = Path(sys.argv[1]).read_text(encoding="utf-8").split("\n")
    configure("debug", sys.argv[2], daemon=True)
    log = structlog.get_logger("probe")
    threading.excepthook = threading.__excepthook__
    for url in urls:
        secrets._known.clear()  # a process knows two or three; hundreds of them take long
        name = "store_url" if url.startswith("redis") else "broker_url"
        settings = load(**{name: url})
        secret = getattr(settings, name).get_secret_value()
        log.info("settings", settings=settings, one=repr(settings), all=settings.model_dump())
        log.info(f"a line with {secret}", url=secret, nested={"url": [secret]}, raw=json.dumps(secret))
        logging.getLogger("library").warning("a line with %s and %r", secret, [secret])
        try:
            fail(secret)
        except Careless as error:
            log.exception("failed")
            logging.getLogger("library").exception("failed: %r", error)
            sys.excepthook(*sys.exc_info())
        faulthandler.dump_traceback(2)
        await objects_of(secret)
    thread = threading.Thread(target=fail, args=(urls[-1],))
    thread.start()
    thread.join()
    print("done", file=sys.stderr, flush=True)


asyncio.run(main())
