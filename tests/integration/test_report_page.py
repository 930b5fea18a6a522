"""The report in a real browser: visible in light and dark, and without any connection."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import zlib
from contextlib import contextmanager

import pytest
from support.day_of_use import LONG, MARKUP, TURNED, DayOfUse, records
from support.requirements import require
from support.rig import Rig

from keylease.audit.report.page import Origin, render
from keylease.audit.report.report import Period, Verification, compile_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1280, 1600)
LIGHT, DARK = (0xFB, 0xFB, 0xFA), (0x15, 0x18, 0x1B)


class Browser:
    """A headless Chromium with its own profile, which resolves every name to one port."""

    def __init__(self, program, profile, port):
        self._words = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
            # All hosts of the day's use end like this. The browser's own servers do not resolve:
            # with any page it asks them for the time and for updates.
            f"--host-resolver-rules=MAP *.example 127.0.0.1:{port}, MAP * ~NOTFOUND",
        ]

    def run(self, page, *words):
        """Show a page; return the output and the console messages."""
        done = subprocess.run(
            [*self._words, *words, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout, re.findall(r":CONSOLE[^\n]*", done.stderr)

    def colour(self, page, picture, *words):
        """Return the colour at the edge of the page."""
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        self.run(page, f"--screenshot={picture}", size, *words)
        return first_pixel(picture.read_bytes())


def first_pixel(data):
    """Return the first pixel of a picture (PNG, third edition: IDAT is one zlib stream)."""
    chunks, place = b"", 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"IDAT":
            chunks += data[place + 8 : place + 8 + length]
        place += 12 + length
    # The first byte of a row is its filter. No filter changes the first pixel of the first row.
    return tuple(zlib.decompressobj().decompress(chunks, 4)[1:])


@contextmanager
def listener():
    """Count the connections to a port of this machine."""
    met = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def count():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                met.append(connection.recv(4096))
                connection.close()

        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], met
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return the report of a day's use, hostile names included."""
    directory = tmp_path_factory.mktemp("report")
    rig = Rig(directory / "keylease")
    DayOfUse(rig).write()
    verification = Verification("pin-missing", "Nothing vouches for its end.", (("lines", "76"),))
    origin = Origin("/home/ada/.local/state/keylease/audit", "2026-09-22T18:00:00Z", "0.1.0")
    path = directory / "page.html"
    path.write_text(
        render(compile_report(records(rig)), verification, Period(), origin), encoding="utf-8"
    )
    return path


@pytest.fixture
def program():
    """Return the installed browser."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    require(found, "chromium", "no Chromium is installed")
    return found


def test_page_shows_its_text_and_asks_nobody_for_anything(program, page, tmp_path):
    """The page makes no connection, the console has no complaint, and every name is text."""
    with listener() as (port, met):
        shown, console = Browser(program, tmp_path / "profile", port).run(page, "--dump-dom")

    assert [] == met
    assert [] == console
    assert "<script" not in shown
    for words in ("Verification: pin-missing", "Refusals", "tampered", "Releases by hour"):
        assert words in shown
    assert MARKUP.host.replace("<", "&lt;").replace(">", "&gt;") in shown
    assert TURNED.host not in shown
    assert r"\u202e" in shown
    assert LONG.host not in shown


def test_the_test_above_fails_when_it_should(program, tmp_path):
    """The control: a page with a picture connects, and one whose policy forbids it complains."""
    picture = '<img src="http://pictures.example/a.png">'
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
    (tmp_path / "open.html").write_text(picture)
    (tmp_path / "shut.html").write_text(policy + picture)
    with listener() as (port, met):
        browser = Browser(program, tmp_path / "profile", port)
        _, console = browser.run(tmp_path / "shut.html", "--dump-dom")
        assert ([], 1) == (met, len(console))
        browser.run(tmp_path / "open.html", "--dump-dom")

    assert met[0].startswith(b"GET /a.png ")


def test_style_applies_in_light_and_dark(program, page, tmp_path):
    """The policy allows the style sheet, and the page follows its reader's colour scheme."""
    browser = Browser(program, tmp_path / "profile", 9)
    dark = "--blink-settings=preferredColorScheme=0"

    assert LIGHT == browser.colour(page, tmp_path / "light.png")
    assert DARK == browser.colour(page, tmp_path / "dark.png", dark)
