"""Functions that require a session: no session, no call, and no secret left behind."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.rig import EXAMPLE, Rig, credential, text

import keylease
from keylease.embed.decorator import LiveSession, require_session
from keylease.errors import (
    SessionEndedError,
    SessionNotFoundError,
    UsageError,
    VaultRevokedError,
)
from keylease.model import Target
from keylease.testing import MemoryKeyStore


@pytest.fixture
def rig(tmp_path):
    """Return a separate state directory."""
    return Rig(tmp_path / "state")


API = "https://api.example.com"


TARGET = Target("web", "https", "api.example.com")


LOGIN = "keylease login https://api.example.com"


@pytest.fixture
def require(rig):
    """Return the decorator on that state directory."""
    return partial(require_session, service=rig.session)


def started(rig, username="ada", password=b"token"):
    """Start a session, some time ago, for the URL that the functions here require."""
    session = rig.session.create(TARGET, credential(password, username))
    rig.clock.advance(600)
    return session


def lives(rig):
    """Return for how many seconds the session lives on without use."""
    _, left = rig.session.validate(TARGET)
    return left.idle_ns // 1_000_000_000


def test_function_gets_its_session_and_what_it_was_called_with(rig, require):
    """The function is called as without the decorator, with the session as an extra argument."""
    wanted = started(rig)

    @require(API)
    def fetch(path, *, session, limit=1):
        return path, limit, session.id, session.target, session.username

    assert ("x", 2, wanted.id, TARGET, "ada") == fetch("x", limit=2)


def test_function_without_a_session_is_not_called(rig, require):
    """Without a session the function is not called, and the message says what to type."""
    rig.session.create(EXAMPLE, credential())

    @require(API)
    def fetch(*, session):
        pytest.fail(f"it was called with {session}")

    with pytest.raises(SessionNotFoundError) as raised:
        fetch()

    assert f"there is no session for {API}; start one with: {LOGIN}" == str(raised.value)
    assert f"start one with: {LOGIN}" == raised.value.hint


def test_ended_session_is_told_with_its_reason(rig, require):
    """The message says that there was a session, and why it ended."""
    started(rig)
    rig.clock.advance(300)

    with pytest.raises(SessionEndedError, match=f"has ended: idle; .*{LOGIN}") as raised:
        require(API)(lambda session: session)()

    assert "idle" == raised.value.reason


def test_revoked_vault_names_the_command_too(rig, require):
    """After a revocation the message names the command that helps."""
    started(rig)
    for item in rig.keystore.items:
        rig.keystore.delete(item)

    with pytest.raises(VaultRevokedError, match=f"start afresh with: {LOGIN}"):
        require(API)(lambda session: session)()


def test_command_to_type_names_the_user_and_is_safe_to_paste(rig, require):
    """The command in the message can be pasted into a shell."""
    started(rig)

    with pytest.raises(SessionNotFoundError) as raised:
        require(f"{API}/a b;c", "bob o'hara")(lambda session: session)()

    command = raised.value.hint.removeprefix("start one with: ")
    expected = ["keylease", "login", f"{API}/a b;c", "--username", "bob o'hara"]
    assert expected == shlex.split(command)


def test_session_of_the_named_user_is_required(rig, require):
    """Another user's session is not used, even if it is newer."""
    rig.session.create(TARGET, credential(username="ada"))
    rig.clock.advance(1)
    started(rig, "bob")

    assert "ada" == require(API, "ada")(lambda session: session.username)()
    assert "bob" == require(API)(lambda session: session.username)()


def test_success_rolls_the_session(rig, require):
    """A session in use does not time out between two commands."""
    started(rig)

    require(API)(lambda session: session.id)()

    assert 900 == lives(rig)


def test_exception_does_not_roll_the_session(rig, require):
    """A failed call does not extend the session, and its exception passes through unchanged."""
    started(rig)

    @require(API)
    def fetch(*, session):
        raise LookupError(session.id)

    with pytest.raises(LookupError):
        fetch()

    assert 300 == lives(rig)


def test_secret_is_released_only_when_it_is_asked_for(rig, require):
    """A function that does not read the secret causes no release and no line about one."""
    started(rig)

    require(API)(lambda session: session.username)()

    assert "session.released" not in [event for event, _ in rig.events()]


def test_secret_that_is_asked_for_is_released_once_and_on_record(rig, require):
    """One call is one release, however often the function reads the secret."""
    started(rig)

    @require(API)
    def fetch(*, session):
        assert session.credential() is session.credential()
        return text(session.credential().secret)

    assert b"token" == fetch()
    expected = ["session.created", "session.validated", "session.released", "session.extended"]
    assert expected == [event for event, _ in rig.events() if event.startswith("session.")]


@pytest.mark.parametrize("fails", [False, True])
def test_secret_is_wiped_when_the_function_is_left(rig, require, fails):
    """The secret is wiped when the function returns or raises, even if an object is kept."""
    started(rig)
    kept = []

    @require(API)
    def fetch(*, session):
        kept.append(session.credential())
        if fails:
            raise LookupError

    with suppress(LookupError):
        fetch()

    with pytest.raises(ValueError, match="the secret was wiped"):
        kept[0].secret.reveal()


def test_session_that_outlives_its_function_releases_nothing(rig, require):
    """A session object kept after the call releases nothing, because no code would wipe it."""
    started(rig)
    kept = require(API)(lambda session: session)()

    with pytest.raises(ValueError, match="has returned"):
        kept.credential()

    assert "session.released" not in [event for event, _ in rig.events()]


def test_session_that_ends_meanwhile_releases_nothing(rig, require):
    """A logout takes effect at once, even for a running function."""
    started(rig)

    @require(API)
    def fetch(*, session):
        rig.session.terminate(TARGET)
        session.credential()

    with pytest.raises(SessionNotFoundError, match=LOGIN):
        fetch()


def test_credential_that_was_replaced_meanwhile_is_the_new_one(rig, require):
    """A running function gets the credential of a new login of the same user."""
    started(rig)

    @require(API)
    def fetch(*, session):
        new = rig.session.create(TARGET, credential(b"newer", "ada"))
        return new.id, text(session.credential().secret), session.id

    new, secret, now = fetch()
    assert (b"newer", new) == (secret, now)


def test_pre_encoded_credential_is_released(rig, require):
    """A session that `validate` finds can also be released."""
    rig.session.create(TARGET, credential(b"Bearer x", None, authtype="Bearer"))

    @require(API)
    def fetch(*, session):
        return session.credential().authtype, text(session.credential().secret)

    assert ("Bearer", b"Bearer x") == fetch()


@pytest.mark.parametrize("trouble", ["logout", "locked"])
def test_result_is_not_lost_where_the_session_cannot_be_rolled(rig, require, trouble):
    """A function that ended the session itself returns its result without an error."""
    started(rig)

    @require(API)
    def fetch(*, session):
        rig.session.terminate(session.target) if trouble == "logout" else rig.keystore.lock()
        return "result"

    assert "result" == fetch()


def test_coroutine_function_is_awaited(rig, require):
    """An async function has the session while its body runs, not only when it is called."""
    started(rig)
    kept = []

    @require(API)
    async def fetch(path, *, session):
        kept.append(await asyncio.to_thread(session.credential))
        await asyncio.sleep(0)
        return path, text(kept[0].secret)

    assert ("x", b"token") == asyncio.run(fetch("x"))
    with pytest.raises(ValueError, match="the secret was wiped"):
        kept[0].secret.reveal()
    assert 900 == lives(rig)


def test_coroutine_function_is_not_entered_without_a_session(require):
    """Without a session an async function is refused like any other."""

    @require(API)
    async def fetch(*, session):
        pytest.fail(f"it was called with {session}")

    with pytest.raises(SessionNotFoundError, match=LOGIN):
        asyncio.run(fetch())


def test_cancelled_coroutine_leaves_no_secret(rig, require):
    """A cancelled task leaves no secret, like one that raised."""
    started(rig)
    kept = []

    @require(API)
    async def fetch(*, session):
        kept.append(session.credential())
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(fetch())

    with pytest.raises(ValueError, match="the secret was wiped"):
        kept[0].secret.reveal()


class Waiting(MemoryKeyStore):
    """A keychain that answers only when the test lets it."""

    def __init__(self):
        super().__init__()
        self.asked, self.let = threading.Event(), threading.Event()
        self.let.set()

    def read(self, items):
        """Wait, as for a user who has to unlock the keychain."""
        self.asked.set()
        assert self.let.wait(10), "the event loop stood still"
        return super().read(items)


def test_event_loop_does_not_wait_for_the_keychain(tmp_path):
    """A server answers its other requests while one user unlocks a keychain."""
    keystore = Waiting()
    rig = Rig(tmp_path / "state", keystore=keystore)
    started(rig)
    keystore.asked.clear()
    keystore.let.clear()

    @require_session(API, service=rig.session)
    async def fetch(*, session):
        return session.username

    async def serve():
        task = asyncio.create_task(fetch())
        assert await asyncio.to_thread(keystore.asked.wait, 10)
        keystore.let.set()
        return await task

    assert "ada" == asyncio.run(serve())


def generator(*, session):
    """Yield the session."""
    yield session


async def asynchronous_generator(*, session):
    """Yield the session."""
    yield session


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (generator, "generator is a generator"),
        (asynchronous_generator, "asynchronous_generator is a generator"),
        (lambda path: path, "no argument named session"),
        (lambda session, /: session, "no argument named session"),
        (click.Command("fetch"), "not a Command: write it below @click.command()"),
        (LookupError, "not a type"),
    ],
    ids=str,
)
def test_what_cannot_have_a_session_is_refused_at_once(require, function, why):
    """A function that cannot have a session is refused when the program is loaded."""
    with pytest.raises(TypeError, match=re.escape(why)):
        require(API)(function)


@pytest.mark.parametrize("url", ["api.example.com", "https://ada:hunter2@api.example.com"])
def test_bad_url_is_refused_at_once(require, url):
    """A URL without a possible session is refused at loading, and its password is not shown."""
    with pytest.raises(UsageError) as raised:
        require(url)

    assert "hunter2" not in str(raised.value)


def test_function_keeps_its_name_and_loses_the_argument(require):
    """Help texts and frameworks see the function without the argument that the decorator adds."""

    @require(API)
    def fetch(path: str, *, session: LiveSession, **rest: int) -> None:
        """Fetch."""

    assert ("fetch", "Fetch.") == (fetch.__name__, fetch.__doc__)
    assert ["path", "rest"] == list(inspect.signature(fetch).parameters)


def test_two_required_sessions_of_one_function_do_not_mix(rig, require):
    """A refusal passes unchanged through an outer function that requires a session, too."""
    started(rig)
    other = "https://other.example"

    @require(API)
    def outer(*, session):
        return require(other)(lambda session: session)(), session

    with pytest.raises(SessionNotFoundError) as raised:
        outer()

    expected = f"there is no session for {other}; start one with: keylease login {other}"
    assert expected == str(raised.value)
    assert 300 == lives(rig)


def command(function):
    """Return the function as a click command that has not run yet."""
    return click.command()(click.argument("path")(function))


def test_click_command_runs_with_its_session(rig, require):
    """A click command gets its arguments from the command line and the session from keylease."""
    started(rig)

    @require(API)
    def fetch(path, session):
        click.echo(f"{path} {session.username} {text(session.credential().secret)}")

    done = CliRunner().invoke(command(fetch), ["x"])

    assert (0, "x ada b'token'\n") == (done.exit_code, done.output)


@pytest.mark.parametrize(
    ("prepare", "code", "message"),
    [
        (lambda _: None, 3, f"there is no session for {API}; start one with: {LOGIN}"),
        (
            lambda rig: rig.clock.advance(900),
            3,
            f"the session for {API} has ended: idle; start one with: {LOGIN}",
        ),
        (lambda rig: rig.keystore.lock(), 4, "the keychain in memory is locked; unlock"),
    ],
    ids=["none", "ended", "locked"],
)
def test_click_command_ends_with_a_message_and_the_exit_code(rig, require, prepare, code, message):
    """Users of the command see one line that says what to type, and scripts see the exit code."""
    if code != 3 or "ended" in message:
        rig.session.create(TARGET, credential())
    else:
        rig.session.create(EXAMPLE, credential())
    prepare(rig)

    @require(API)
    def fetch(path, session):
        pytest.fail(f"it was called with {path} and {session}")

    done = CliRunner().invoke(command(fetch), ["x"])

    assert code == done.exit_code
    assert done.output.startswith(f"Error: {message}")
    assert 1 == done.output.count("\n")


def test_refusal_in_a_click_command_is_caught_by_its_own_name(rig, require):
    """A command that works without a session can catch the refusal by its own name."""
    started(rig)
    rig.clock.advance(900)

    @require(API)
    def cached(*, session):
        pytest.fail(f"it was called with {session}")

    def fetch(path):
        with pytest.raises(SessionEndedError) as raised:
            cached()
        click.echo(f"{raised.value.reason} {raised.value.exit_code}, {path} all the same")

    done = CliRunner().invoke(command(fetch), ["x"])

    assert (0, "idle 3, x all the same\n") == (done.exit_code, done.output)


def test_refusal_during_a_click_command_is_a_message_too(rig, require):
    """A refusal while the command runs is a message, not a traceback."""
    started(rig)

    @require(API)
    def fetch(path, session):
        rig.session.terminate(session.target)
        rig.session.load(path)

    done = CliRunner().invoke(command(fetch), ["0" * 32])

    message = "Error: there is no session with that id; start one with: keylease login URL\n"
    assert (3, message) == (done.exit_code, done.output)


def test_without_click_nothing_of_it_is_imported():
    """A program without commands does not import click."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, keylease.embed.decorator; print(*sys.modules)"],
        env=os.environ | {"PYTHONPATH": str(Path(keylease.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "keylease.embed.decorator" in done.stdout.split()
    assert set() == {"click", "inspect", "asyncio"} & set(done.stdout.split())
