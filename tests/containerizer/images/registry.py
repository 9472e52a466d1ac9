"""A registry of images on this machine, with one image; it may ask for a password, and keep its callers waiting."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.containerizer.images.engine import archive

REPOSITORY = "team/tool"
USER, PASSWORD = "someone", "not-in-any-message"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Answers for a layer wait for ``open``; ``asked`` is set by the first of them, and ``layers`` counts them."""

    def __init__(self, *, secret: bool = False) -> None:
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self.layers = 0
        self.secret = secret
        layer = archive()
        digest = "sha256:" + hashlib.sha256(layer).hexdigest()
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Env": ["PATH=/bin", "FROM=registry"]},
                "rootfs": {"type": "layers", "diff_ids": [digest]},
            }
        ).encode()
        self.layer = digest
        self.blobs = {digest: layer, "sha256:" + hashlib.sha256(config).hexdigest(): config}
        parts = [
            {"mediaType": kind, "size": len(blob), "digest": each}
            for kind, (each, blob) in zip(
                (
                    "application/vnd.docker.image.rootfs.diff.tar",
                    "application/vnd.docker.container.image.v1+json",
                ),
                self.blobs.items(),
                strict=True,
            )
        ]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": parts[1], "layers": parts[:1]}
        self.manifest = json.dumps(manifest).encode()
        self.port = 0

    @property
    def image(self) -> str:
        """The reference of its image."""
        return f"127.0.0.1:{self.port}/{REPOSITORY}:1"

    @property
    def auth(self) -> str:
        """The credentials for it."""
        both = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return json.dumps({"auths": {f"127.0.0.1:{self.port}": {"auth": both}}})

    def answer(self, path: str, authorization: str) -> tuple[int, str, bytes]:
        """The answer to a request."""
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.secret and authorization != expected:
            return 401, "application/json", b'{"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}'
        if path == "/v2/":
            return 200, "application/json", b"{}"
        kind, _, name = path.removeprefix(f"/v2/{REPOSITORY}/").partition("/")
        if kind == "manifests" and name in ("1", "sha256:" + hashlib.sha256(self.manifest).hexdigest()):
            return 200, _MANIFEST, self.manifest
        if kind == "blobs" and name in self.blobs:
            if name == self.layer:
                self.layers += 1
                self.asked.set()
                self.open.wait(90)
            return 200, "application/octet-stream", self.blobs[name]
        return 404, "application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Serve a registry at a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, body = registry.answer(self.path, self.headers.get("Authorization", ""))
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="test"')
                if kind == _MANIFEST:
                    self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(body).hexdigest())
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)
            except OSError:
                pass

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.open.set()
        server.shutdown()
        server.server_close()
        thread.join()
