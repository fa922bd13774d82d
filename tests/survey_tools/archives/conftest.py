"""A small web server on 127.0.0.1 whose every answer is set by the test."""

import contextlib
import re
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from survey_tools.archives import tap
from survey_tools.archives.download import hosts, http, ways
from survey_tools.archives.download.mirror import Mirror


class Web:
    """Answers by path, each a list to go through whose last one stays; and the requests that came.

    An answer is (status, headers, body) or a function of a request that gives one. Of its headers, X-Slow is a wait [s]
    before the body and X-Reset has the connection reset after it; a body shorter than its length ends the connection.
    """

    def __init__(self) -> None:
        self.answers, self.requests, self.connections = {}, [], 0
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20
            disable_nagle_algorithm = True

            def setup(self):
                web.connections += 1
                super().setup()

            def answer(self):
                form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.title(): value for name, value in self.headers.items()}
                request = SimpleNamespace(method=self.command, path=self.path, headers=headers, form=form)
                web.requests.append(request)
                queue = web.answers.get(self.path, [(404, {}, b"")])
                answer = queue.pop(0) if len(queue) > 1 else queue[0]
                status, headers, body = answer(request) if callable(answer) else answer
                self.send_response(status)
                headers = {"Content-Length": str(len(body))} | headers
                for name, value in headers.items():
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                self.close_connection |= headers["Content-Length"] != str(len(body))
                threading.Event().wait(float(headers.get("X-Slow", 0)))
                with contextlib.suppress(ConnectionError):  # a client may have read enough
                    self.wfile.write(b"" if self.command == "HEAD" else body)
                if "X-Reset" in headers:
                    self.wfile.flush()
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True

            do_GET = do_POST = do_HEAD = answer  # noqa: N815

            def finish(self):
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def ranges(self) -> list[str | None]:
        """The header Range of all requests so far."""
        return [request.headers.get("Range") for request in self.requests]


def whole(body: bytes, **more: str):
    """An answer that serves `body`, or the Range of it that is asked for; `more` are headers (_ for -)."""
    extra = {name.replace("_", "-"): value for name, value in more.items()}

    def answer(request):
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        unless = request.headers.get("If-Range")
        if not asked or (unless and unless not in extra.values()):
            return 200, {"Accept-Ranges": "bytes"} | extra, body
        first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
        if first > last:
            return 416, {"Content-Range": f"bytes */{len(body)}"} | extra, b""
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(body)}"} | extra, body[first : last + 1]

    return answer


def cut_off(body: bytes, at: int, **more: str):
    """An answer as `whole` gives it, of which only the first `at` bytes come."""

    def answer(request):
        status, headers, sent = whole(body, **more)(request)
        return status, {"Content-Length": str(len(sent))} | headers, sent[:at]

    return answer


@pytest.fixture
def web():
    """A server, with `whole` and `cut_off` to make answers."""
    hosts.forget()
    ways.forget()
    served = Web()
    served.whole, served.cut_off = whole, cut_off
    yield served
    served.server.shutdown()
    served.server.server_close()
    hosts.forget()


@pytest.fixture
def no_waiting(monkeypatch):
    """Archives are asked again at once."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(http, "LONGEST_WAIT", 0.0)
    monkeypatch.setattr(tap, "PAUSES", (0.0, 0.0))


@pytest.fixture
def galaxy(known_sky):
    """A galaxy in the middle of a known frame."""
    return known_sky.Galaxy(*known_sky.position(known_sky.frame_wcs(), 108.2, 131.4), flux=300.0)


@pytest.fixture
def mirror(tmp_path):
    """A local mirror."""
    return Mirror(str(tmp_path / "mirror"), tmp_path / "work")


@pytest.fixture
def waits(monkeypatch):
    """The pauses of the program, noted and not waited for."""
    noted = []
    monkeypatch.setattr(time, "sleep", noted.append)
    return noted
