"""``python -m benchmarks.viewers``: what many open pages ask of a web server: all agents once, a stream of updates, and
who owns which cell every second. Prints a JSON line each second."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal

import httpx

HEADERS = {"cache-control": "max-age=1", "accept-encoding": "gzip"}


class Viewer:
    """One page. ``bytes`` is what it has got since it began, as it was sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bytes = 0

    async def watch(self) -> None:
        """Look at a cluster until cancelled."""
        limits = httpx.Limits(max_connections=6)
        async with httpx.AsyncClient(base_url=self.url, timeout=60.0, limits=limits, headers=HEADERS) as http:
            token, more = "", True
            while more:
                answer = await self._ask(http, {"type": "GET_AGENTS", "follow": True, "changed_since": token})
                token, more = answer["token"], answer["more"]
            await asyncio.gather(self._stream(http), self._owners(http))

    async def _ask(self, http: httpx.AsyncClient, request: dict[str, object]) -> dict[str, object]:
        async with http.stream("POST", "/api/v1", json=request) as answer:
            body = await answer.aread()
            self.bytes += answer.num_bytes_downloaded
        return json.loads(body)["data"] if answer.status_code == 200 else {"token": "", "more": False}

    async def _stream(self, http: httpx.AsyncClient) -> None:
        while True:
            params = {"topics": "agents,events,overview"}
            async with http.stream("GET", "/api/v1/stream", params=params) as answer:
                before = 0
                async for _ in answer.aiter_raw():
                    self.bytes += answer.num_bytes_downloaded - before
                    before = answer.num_bytes_downloaded

    async def _owners(self, http: httpx.AsyncClient) -> None:
        while True:
            await self._ask(http, {"type": "GET_CLUSTER"})
            await asyncio.sleep(1.0)


async def look(url: str, count: int) -> None:
    """Run the viewers until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    viewers = [Viewer(url) for _ in range(count)]
    tasks = [asyncio.create_task(each.watch()) for each in viewers]
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        failed = sum(1 for task in tasks if task.done())
        print(json.dumps({"viewers": count - failed, "bytes": sum(each.bytes for each in viewers)}), flush=True)
        try:
            async with asyncio.timeout(1):
                await stop.wait()
        except TimeoutError:
            pass
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(look(options.url, options.count))


if __name__ == "__main__":
    main()
