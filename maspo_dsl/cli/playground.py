"""`maspo-dsl playground`: the page and the site, from a folder that `make site` has built, to this machine alone."""

from __future__ import annotations

import sys
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits, print_line

LOOPBACK = "127.0.0.1"
BUILT = Path(__file__).parents[2] / "web" / "dist"
"""Where `make site` puts it, in a checkout of the repository."""


def playground(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes one that is free.")] = 0,
    folder: Annotated[Path, typer.Option(help="Where the site was built.", show_default=False)] = BUILT,
    browser: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
) -> None:
    """Open the playground in a browser.

    Write a spec and see its mistakes, formula, trust region and torch. It is served to this machine alone, needs no
    network, and ends with Ctrl-C.
    """
    with invalid_input_exits():
        server = serving(folder, port)
    address = f"http://{LOOPBACK}:{server.server_port}/"
    print_line(f"the playground is at {address}; Ctrl-C ends it")
    sys.stdout.flush()
    if browser:
        webbrowser.open(address)
    with server:
        server.serve_forever()


def serving(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a built site on the loopback interface; raises InputError where there is none, or no such port."""
    if not (folder / "index.html").is_file():
        raise InputError(
            f"no site is built in {folder}; in a checkout of the repository `make site` builds it"
        )
    try:
        return ThreadingHTTPServer((LOOPBACK, port), partial(SiteHandler, directory=str(folder)))
    except OSError as error:
        raise InputError(f"port {port} cannot be had: {error.strerror}") from None


class SiteHandler(SimpleHTTPRequestHandler):
    """Files of the site, to a browser that asked for this machine by a name of its own."""

    extensions_map = {  # noqa: RUF012  (an attribute of instances, the standard library says)
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".woff2": "font/woff2",
    }

    def send_head(self):  # type: ignore[no-untyped-def]
        """Refuse a page of another name that leads here: its scripts would be this site's."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in {LOOPBACK, "localhost"}:
            self.send_error(HTTPStatus.FORBIDDEN, "only this machine is served")
            return None
        return super().send_head()

    def list_directory(self, path):  # type: ignore[no-untyped-def]
        """A folder is no page."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Ask browsers to look for a new build each time, and to guess no types."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each file."""
