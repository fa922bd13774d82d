"""A proxy in front of an S3 server on 127.0.0.1, which errs as its `faults` tell: each is (kind, match, times).

Kinds: "503" (SlowDown, as S3 sends it), "500", "403", "reset" (before any byte), "truncate" (half of the body, then the
connection ends), "changed" (other ETag).
"""

import http.client
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>'
ERRORS = {"503": ("SlowDown", "Please reduce your request rate."), "500": ("InternalError", "We encountered an error."),
          "403": ("AccessDenied", "Access Denied")}  # fmt: skip


class Proxy(ThreadingHTTPServer):
    """The proxy; `log` has method, path and range of each request."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.faults, self.log, self.lock = port, [], [], threading.Lock()

    def take(self, request: str) -> str:
        """The fault that a request meets."""
        with self.lock:
            self.log.append(request)
            for fault in self.faults:
                kind, match, times = fault
                if times and re.search(match, request):
                    self.faults[self.faults.index(fault)] = (kind, match, times - 1)
                    return kind
        return ""

    def handle_error(self, request, client_address) -> None:
        """A client may go at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = self.server.take(f"{self.command} {self.path} {self.headers.get('Range', '')}")
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.rfile.close(), self.wfile.close(), self.connection.close()
            return
        if kind in ERRORS:
            self._send(int(kind), {"Content-Type": "application/xml"}, ERROR.format(*ERRORS[kind]).encode())
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content, headers = answer.read(), dict(answer.getheaders())
        upstream.close()
        if kind == "changed":
            headers["ETag"] = '"another"'
        self._send(answer.status, headers, content, whole=kind != "truncate")

    def _send(self, status: int, headers: dict, content: bytes, whole: bool = True) -> None:
        self.send_response_only(status)
        drop = ("transfer-encoding", "connection") + (() if self.command == "HEAD" else ("content-length",))
        for name, value in headers.items():
            if name.lower() not in drop:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content if whole else content[: len(content) // 2])
        self.close_connection |= not whole

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815


@contextmanager
def proxy_of(port: int) -> Iterator[Proxy]:
    """A proxy of the server at a port of 127.0.0.1."""
    proxy = Proxy(port)
    threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
