"""Serves the page of `zoo demo`: on one address, to those who may, from a folder of its own, until it is ended.

What a page of this machine is asked for may come from any page of the web that its user has open. `Guard` answers what
the page itself asks for, and nothing else: requests that name this machine as their host, and come from no other
origin; those few of Gradio's paths that the page needs; bodies of a bounded size, as long as there is room. Every
answer forbids the browser to fetch anything from elsewhere (Content-Security-Policy), and to show the page within
another; a file's content is never run.
"""

import errno
import ipaddress
import os
import re
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from zoo.use.demo.shown import MOST_BYTES

INSTALL = "pip install 'gan-zoo[demo]'"
LOCAL = ("127.0.0.1", "localhost", "::1")
MOST_BODY = MOST_BYTES + 100_000  # what is around a file, and the values of controls
MOST_KEPT = 2_000_000_000  # bytes of all visitors' files and pictures
KEPT = 1800  # seconds that they are kept
ASKED = {  # by the page, of Gradio: the beginnings of paths
    "GET": re.compile(
        r"/$|/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json)$|/(static|assets|svelte|pwa_icon)(/|$)|"
        r"/gradio_api/(startup-events|app_id|heartbeat/\w+|queue/data|upload_progress|file=(?!https?:)|info)"
    ),
    "POST": re.compile(r"/gradio_api/(upload|queue/join|run/predict|cancel|reset/?)$"),  # run: what has no queue
}
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
OF_FILES = HEADERS | {"content-security-policy": "sandbox; default-src 'none'"}  # a drawing (SVG) may hold a script
ENVIRONMENT = {  # of Gradio, and of what it brings: tell nobody, begin no other server
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@contextmanager
def apart() -> Iterator[str]:
    """Let Gradio keep all its files in a folder of the program's own, which vanishes, and tell nobody; the folder."""
    with TemporaryDirectory(prefix="zoo-demo-") as folder:
        folder = os.path.realpath(folder)
        wanted = ENVIRONMENT | {"GRADIO_TEMP_DIR": folder}
        before, where = {name: os.environ.get(name) for name in wanted}, tempfile.tempdir
        os.environ.update(wanted)
        tempfile.tempdir = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = where
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def check_installed() -> None:
    """Refuse to go on without Gradio, with the line that installs it."""
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise ValueError(f"zoo demo needs Gradio, which is not installed here: {INSTALL}")


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        ValueError: naming the port that is in use or forbidden, or the address that is none of this machine's.
    """
    if not 0 <= port < 65536:
        raise ValueError(f"--port={port} must be from 0 (any that is free) to 65535")
    try:
        family, *_, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except (OSError, UnicodeError):
        raise ValueError(f"--host={host} is no address: give 127.0.0.1, or 0.0.0.0 for all of this machine") from None
    try:
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(
                f"port {port} is in use on {host}, maybe by another zoo demo: end that, or give another, "
                f"--port {port + 1 if port < 65535 else 7860} (--port 0: any that is free)"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise ValueError(
                f"port {port} is not for you ({error.strerror}): give one from 1024 on, --port 7860"
            ) from None
        raise ValueError(
            f"--host={host} can't be listened on ({error.strerror}): give an address of this machine, such as 127.0.0.1"
        ) from None


def address(sock: socket.socket) -> str:
    """What to type into a browser of this machine."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def is_local(sock: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


class Guard:
    """Answers what the page asks for, in place of all that Gradio would; see the header.

    Args:
        app: Gradio's, by ASGI.
        folder: where visitors' files and pictures lie; what lies there now is the page's own.
        local: whether requests have to name this machine as their host: a name of the web that leads to its address
            does not pass.
    """

    def __init__(self, app: Any, folder: Path, *, local: bool) -> None:
        self.app, self.folder, self.local = app, folder, local
        self.own = set(_files(folder))

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self.refusal(scope, headers):
            status, words = refusal
            start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
            await send(start)
            await send({"type": "http.response.body", "body": words.encode()})
            return
        left = MOST_BODY
        extra = OF_FILES if scope["path"].startswith("/gradio_api/file=") else HEADERS

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}  # one that did not say how much would come

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [pair for pair in message["headers"] if pair[0].decode("latin-1").lower() not in extra]
                message["headers"] = [*others, *((name.encode(), value.encode()) for name, value in extra.items())]
            await send(message)

        await self.app(scope, receive_some, send_guarded)

    def refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and the reason, where a request is refused."""
        host = headers.get("host", "")
        if self.local and _host(f"//{host}") not in LOCAL:
            return 403, "this page is for this machine alone"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "this is asked for by another page"
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in ASKED or not ASKED[method].match(scope["path"]):
            return 404, "this page has no such thing"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY:
            return 413, f"this is more than {MOST_BYTES >> 20} MB"
        if scope["path"].startswith("/gradio_api/upload") and method == "POST" and not self.has_room():
            return 507, "too many pictures have been sent to this page: try again later"
        return None

    def has_room(self) -> bool:
        """Whether another file may come, once those that nobody needs any more are gone: also of uploads that broke
        off, which Gradio leaves behind."""
        size, oldest = 0, time.time() - KEPT
        for path in _files(self.folder):
            if path in self.own:
                continue
            with suppress(OSError):  # it has gone meanwhile
                status = path.stat()
                if status.st_mtime < oldest:
                    path.unlink()
                else:
                    size += status.st_size
        return size < MOST_KEPT


def _files(folder: Path) -> Iterator[Path]:
    return (Path(place, name) for place, _, names in os.walk(folder) for name in names)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def application(blocks: Any, *, local: bool) -> Guard:
    """What answers for a page (`page.page`), within `apart`."""
    import gradio as gr
    from fastapi import FastAPI

    from zoo.use.demo.page import CSS, MONO, SYSTEM

    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, path="/", max_file_size=MOST_BYTES,
        allowed_paths=[], show_error=False, footer_links=[], run_history=False, ssr_mode=False, mcp_server=False,
        pwa=False, enable_monitoring=False, theme=gr.themes.Soft(font=SYSTEM, font_mono=MONO), css=CSS,
    )  # fmt: skip
    blocks.has_launched = True  # else Gradio does not look which files it is asked for
    return Guard(app, Path(blocks.GRADIO_CACHE), local=local)


@contextmanager
def serving(app: Guard, sock: socket.socket) -> Iterator[threading.Event]:
    """Serve from a thread of its own, until the block ends; what is set where the server ends by itself.

    Wait for that, not for a thread: Thread.join that a signal interrupts takes the thread for ended.
    """
    import uvicorn

    config = uvicorn.Config(
        app, log_level="error", access_log=False, ws="none", timeout_graceful_shutdown=1, server_header=False,
        proxy_headers=False,
    )  # fmt: skip
    server, ended = uvicorn.Server(config), threading.Event()

    def serve() -> None:
        try:
            server.run(sockets=[sock])
        finally:
            ended.set()

    threading.Thread(target=serve, name="zoo demo", daemon=True).start()
    try:
        yield ended
    finally:
        server.should_exit = True
        ended.wait(timeout=10)


def open_browser(url: str) -> bool:
    """Show a page in this machine's browser; whether there is one. A browser of the terminal is none."""
    if sys.platform.startswith("linux") and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return False
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
