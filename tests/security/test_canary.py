"""A recognizable secret goes through every operation, and appears only in the answer."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from support.waiting import WAIT_SECONDS, wait_until_it_wants_more

from keylease.model import Credential, Request, Target
from keylease.secrets.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.throwaway import Throwaway

CANARY = "CANARY-7f3b-Zq-password"
OTHER = "CANARY-9c1e-refresh-token"
GET = "protocol=https\nhost=example.com\n"
STORE = f"{GET}username=alice\npassword={CANARY}\noauth_refresh_token={OTHER}\n"


def traces_of(secret: str) -> list[bytes]:
    """Return the forms in which a secret could appear."""
    raw = secret.encode()
    return [
        raw,
        raw.hex().encode(),
        base64.b64encode(raw).rstrip(b"=")[:-1],
        base64.b64encode(b"alice:" + raw).rstrip(b"=")[:-1],
        raw.decode().encode("utf-16-le"),
        json.dumps(secret).encode().strip(b'"'),
    ]


def found_in(text: bytes) -> list[bytes]:
    """Return the traces of either secret in some bytes."""
    return [trace for secret in (CANARY, OTHER) for trace in traces_of(secret) if trace in text]


def files_below(*roots: Path) -> Iterator[Path]:
    """Yield every regular file below the directories."""
    for root in roots:
        yield from (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def test_secret_is_nowhere_but_in_the_answer(home: Throwaway, tmp_path: Path) -> None:
    """After every operation no file, message or log line has the secret in any usual encoding."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    home.environment["TMPDIR"] = str(temporary)
    said = []
    for words, stdin in (
        (["keylease", "store"], STORE),
        (["keylease", "store"], STORE + f"host=evil\rpassword={CANARY}\n"),
        (["keylease", "store"], STORE.replace("username", CANARY)),
        (["keylease", "login", "https://other.example", "--username", "alice"], CANARY),
        (
            ["keylease", "login", "https://bob@third.example", "--password-stdin"],
            CANARY + "\n",
        ),
        (["keylease", "login", "--password-stdin", "not a url"], CANARY),
        (["keylease", "status"], ""),
        (["keylease", "status", "--json"], ""),
        (["keylease", "status", "https://example.com"], ""),
        (["keylease", "extend", "https://example.com"], ""),
        (["keylease", "erase"], STORE.replace(CANARY, CANARY + "x")),
        (["keylease", "logout", "https://third.example"], ""),
    ):
        done = home.run(*words, stdin=stdin)
        said.append((words, (done.stdout + done.stderr).encode("utf-8", "surrogateescape")))
    answer = home.run("keylease", "get", stdin=GET).stdout.encode()

    assert {CANARY.encode(), OTHER.encode()} <= set(found_in(answer)), "the control: it has both"
    assert [] == [words for words, text in said if found_in(text)]
    assert [] == [path for path in files_below(tmp_path) if found_in(path.read_bytes())]
    assert 3 <= len(list(files_below(home.state))), "the control: there were files to look at"
    planted = temporary / "planted"
    planted.write_bytes(base64.b64encode(b"alice:" + CANARY.encode()))
    assert [planted] == [path for path in files_below(tmp_path) if found_in(path.read_bytes())]


def test_secret_is_in_no_argument_and_no_variable(kernel_home: Throwaway) -> None:
    """While a helper runs, `ps` and /proc do not show the secret."""
    helper = subprocess.Popen(
        [kernel_home.find("git-credential-keylease") or "", "store"],
        # Without it only root could read the environment, and the test would look at nothing.
        env=kernel_home.environment | {"KEYLEASE_DUMPABLE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with helper:
        assert helper.stdin is not None
        # The message is incomplete without its last line, so the helper is still running.
        os.write(helper.stdin.fileno(), STORE.encode())
        wait_until_it_wants_more(helper.pid, helper.stdin.fileno())
        shown = [Path(f"/proc/{helper.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        helper.stdin.close()
        helper.stdin = None
        helper.communicate(timeout=WAIT_SECONDS)

    assert 0 == helper.returncode
    assert all(b"keylease" in text.lower() for text in shown), "the control: they could be read"
    assert [] == [trace for text in shown for trace in found_in(text)]


def test_values_do_not_show_a_secret() -> None:
    """No representation, format or error of a secret value shows its bytes or its length."""
    secret = Secret(CANARY.encode())
    credential = Credential(
        "alice", secret, fields=(("oauth_refresh_token", Secret(OTHER.encode())),)
    )
    request = Request("store", Target("web", "https", "example.com"), "alice", credential)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr(credential),
        repr(request),
    ]

    assert [] == [text for text in shown if found_in(text.encode())]
    assert not any(str(len(CANARY)) in text for text in shown)
    assert bytes(secret.reveal()) == CANARY.encode()
