"""An error that a library raises on hostile input becomes one of our own answers at its border."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time

import pytest
from support.hostile_bus import HostileBus, nested, nested_arrays, reply
from support.rig import EXAMPLE, Rig, bring

from keylease import keystores
from keylease.errors import (
    ConfigError,
    InternalError,
    KeychainUnavailableError,
    KeyleaseError,
    StateError,
)
from keylease.keystores.base import Item, answering
from keylease.shares import Shares
from keylease.shares.policy import PolicyShares
from keylease.store import seal
from keylease.system.clock import Deadline
from keylease.vault.vault import Vault

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the session bus is Linux's")

ITEM = Item("0123456789abcdef", "session-key", 1)
LOGIN = ("keylease", "login", "https://git.example", "--username", "ada", "--password-stdin")
GET = "protocol=https\nhost=git.example\n\n"
SECRET = "hunter2"
# Exceptions that a library may raise; their messages may repeat the input.
FAULTS = (AssertionError, RecursionError, MemoryError, struct.error, UnicodeError, KeyError)


def some_bytes(seed):
    """Return what a hostile bus may send: noise, a cut or changed message, a wrong signature."""
    chance = random.Random(seed)
    noise = chance.randbytes(chance.randrange(1, 400))
    whole = bytearray(reply(b"s", struct.pack("<I", 3) + b":1.\0"))
    at = chance.randrange(len(whole))
    whole[at] = chance.randrange(256)
    signature = bytes(chance.choices(b"ybnqiuxtdsogav(){}", k=chance.randrange(1, 12)))
    return (
        noise,
        b"l" + noise,
        bytes(whole),
        bytes(whole[:at]),
        reply(signature, noise),
        reply(b"s", noise),
        reply(b"s", b"", fields=noise),
    )[seed % 7]


def answer_to_read(tmp_path, monkeypatch, said, seconds=2.0):
    """Return what reading a key from such a bus raises, and how long it took."""
    path = tmp_path / "bus"
    path.unlink(missing_ok=True)
    with HostileBus(path, said) as bus:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)
        store = keystores.open_keystore("secret-service", Deadline(seconds))
        began = time.monotonic()
        with pytest.raises(KeychainUnavailableError) as caught:
            store.read([ITEM])
        return caught.value, time.monotonic() - began


@pytest.mark.parametrize("depth", [1, 60, 200, 1500, 20_000])
@pytest.mark.parametrize("make", [nested, nested_arrays])
def test_nested_answer_of_the_bus_is_unavailable(tmp_path, monkeypatch, make, depth):
    """An answer of any nesting depth is refused, within the time limit."""
    _, seconds = answer_to_read(tmp_path, monkeypatch, make(depth), 1.0)

    assert seconds < 3


@pytest.mark.parametrize("start", range(0, 140, 28))
def test_garbage_of_the_bus_is_never_absent(tmp_path, monkeypatch, start):
    """Random bytes and nearly correct messages prove nothing about the key."""
    for seed in range(start, start + 28):
        answer_to_read(tmp_path, monkeypatch, some_bytes(seed), 0.05)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("question", ["instance", "probe", "read", "add", "delete"])
def test_keychain_gives_three_answers_whatever_it_raises(fault, question):
    """A provider's own fault counts as unavailable, and its message is not repeated."""

    def raising(*_):
        raise fault(SECRET)

    class Broken:
        title = "broken keychain"
        instance = probe = read = add = delete = raising

    with pytest.raises(KeychainUnavailableError) as caught:
        getattr(answering(Broken)(), question)()

    assert f"the broken keychain cannot be used: it failed with {fault.__name__}" == str(
        caught.value
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_share_that_fails_is_not_dead(fault):
    """A fault of the volatile store ends no session."""

    class Broken(PolicyShares):
        def read(self, _):
            raise fault(SECRET)

    class Header:
        share = 0

    with pytest.raises(StateError, match=fault.__name__):
        Shares((Broken(),)).read(Header(), "0" * 32)


@pytest.mark.parametrize("fault", [*FAULTS, type("PanicException", (BaseException,), {})])
def test_fault_of_the_cryptography_is_no_tampering(tmp_path, monkeypatch, fault):
    """The session is refused and not destroyed, and the log names an internal fault."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring())
    process = rig.again()

    class Broken:
        def __init__(self, *_):
            raise fault(SECRET)

    with monkeypatch.context() as patch:
        patch.setattr(seal, "HKDF", Broken)
        with pytest.raises(InternalError, match=fault.__name__):
            process.session.get(EXAMPLE)

    assert ("session.refused", "internal") == rig.events()[-1]
    assert b"correct horse" in bytes(rig.again().session.get(EXAMPLE).credential.secret.reveal())


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_an_operation_is_on_record_and_goes_on(tmp_path, monkeypatch, fault):
    """A program that embeds keylease sees the exception itself; the log has one line about it."""
    rig = Rig(tmp_path / "keylease")
    rig.session.store(bring())

    def raising(*_):
        raise fault(SECRET)

    process = rig.again()
    monkeypatch.setattr(Vault, "demand_current", raising)
    with pytest.raises(fault):
        process.session.get(EXAMPLE)

    assert ("session.refused", "internal") == rig.events()[-1]
    assert 1 == rig.events().count(("session.refused", "internal"))


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_the_toml_parser_is_a_configuration_that_cannot_be_used(
    console_state, monkeypatch, fault
):
    """Without a readable configuration nothing is released, and sessions can be ended."""
    from keylease import config, wiring  # noqa: PLC0415 - patched in the fixture's environment

    def raising(*_, **__):
        raise fault(SECRET)

    monkeypatch.setattr(config, "load", raising)

    made = wiring.Wiring()

    with pytest.raises(ConfigError, match=fault.__name__):
        made.session.get(EXAMPLE)
    assert [] == made.session.terminate_all()
    assert console_state.exists()


@pytest.fixture
def console_state(tmp_path, monkeypatch):
    """Return a separate state directory for a real wiring."""
    monkeypatch.setenv("KEYLEASE_STATE_DIR", str(tmp_path / "keylease"))
    return tmp_path / "keylease"


# Whole programs on a hostile bus.


@pytest.fixture
def logged_in(desktop, tmp_path):
    """Return a home with a session in the Secret Service, and where a bus may listen."""
    assert 0 == desktop.home.run(*LOGIN, stdin=SECRET).returncode
    path = tmp_path / "hostile"
    real = desktop.home.environment["DBUS_SESSION_BUS_ADDRESS"]
    yield desktop.home, path
    desktop.home.environment["DBUS_SESSION_BUS_ADDRESS"] = real


def sealed(home):
    """Return the sealed files of a home."""
    return list(home.state.glob("sessions/*/*.sealed"))


@pytest.mark.parametrize(
    "said", [nested(1500), reply(b"s", b"\xff" * 8), b"garbage" * 9], ids=["deep", "wrong", "noise"]
)
def test_get_on_a_hostile_bus_is_refused_in_silence(logged_in, said):
    """git gets no answer, the log has one line, and nothing is destroyed."""
    home, path = logged_in
    before = len(home.audit())
    with HostileBus(path, said) as bus:
        home.environment["DBUS_SESSION_BUS_ADDRESS"] = bus.address
        began = time.monotonic()
        done = home.run("git-credential-keylease", "get", stdin=GET)
        seconds = time.monotonic() - began

    assert ("", "", 1) == (done.stdout, done.stderr, done.returncode)
    assert ["keychain_unavailable"] == [line["reason"] for line in home.audit()[before:]]
    assert 1 == len(sealed(home))
    assert seconds < 10, "the deadline is two seconds; a busy machine gets more"


@pytest.mark.parametrize(
    "said", [nested(1500), reply(b"s", b"\xff" * 8), b"garbage" * 9], ids=["deep", "wrong", "noise"]
)
def test_revoke_on_a_hostile_bus_ends_everything(logged_in, said):
    """One line says that the key may still exist, and the next run deletes it."""
    home, path = logged_in
    real = home.environment["DBUS_SESSION_BUS_ADDRESS"]
    with HostileBus(path, said) as bus:
        home.environment["DBUS_SESSION_BUS_ADDRESS"] = bus.address
        done = home.run("keylease", "revoke", "--yes")
    home.environment["DBUS_SESSION_BUS_ADDRESS"] = real

    assert (4, "marked the vault as revoked\nended 1 session\n") == (done.returncode, done.stdout)
    assert "may still be in Secret Service" in done.stderr
    assert "Traceback" not in done.stderr
    assert ([], True) == (sealed(home), bool(home.vault()["revoked"]))
    assert "deleted the vault key" in home.run("keylease", "revoke", "--yes").stdout
    assert 0 == home.run("keylease", "audit", "verify").returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_revoke_that_is_killed_while_the_bus_is_silent_has_ended_everything(logged_in, number):
    """The revocation waits for the keychain only after it has destroyed everything else."""
    home, path = logged_in
    with HostileBus(path, b"") as bus:
        environment = home.environment | {"DBUS_SESSION_BUS_ADDRESS": bus.address}
        process = subprocess.Popen(
            [home.find("keylease"), "revoke", "--yes"],
            env=environment,
            cwd=home.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert bus.asked.wait(60), "it never asked the keychain"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)

    assert process.returncode in {-number, 130}
    assert "Traceback" not in err
    assert ([], True) == (sealed(home), bool(home.vault()["revoked"]))
    events = [(line["event"], line["reason"]) for line in home.audit()]
    assert [("vault.revoked", None), ("session.ended", "revoked")] == events[-2:]


def test_revoke_without_memory_ends_everything_or_nothing(logged_in):
    """Under any memory limit, a run that marks the vault as revoked has destroyed every session."""
    home, _ = logged_in
    ended = False
    for kilobytes in range(40_000, 200_000, 8_000):
        words = f"ulimit -v {kilobytes}; exec keylease revoke --yes"
        done = home.run("sh", "-c", words)
        assert SECRET not in done.stderr
        if home.vault()["revoked"]:
            ended = True
            assert [] == sealed(home), done.stderr
            break

    assert ended, "the control: with enough memory it works"


def test_fault_in_a_helper_is_one_line_at_most():
    """A person reads one line with the place of the fault; a program reads nothing."""
    code = (
        "import keylease.helper as helper\n"
        "def broken(*_): raise AssertionError('hunter2')\n"
        "helper.load_protocol = broken\n"
        "helper.main('git', ['get'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        input=GET,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
        timeout=60,
    )

    assert ("", "", 1) == (done.stdout, done.stderr, done.returncode)


def test_fault_of_a_command_is_one_line(monkeypatch, capsys):
    """A person reads the type and the place of the fault, without a traceback."""
    from keylease import cli  # noqa: PLC0415 - the module itself is patched

    def broken(*_, **__):
        raise AssertionError(SECRET)

    monkeypatch.setattr(cli.keylease, "main", broken)

    assert 1 == cli.main(["status"])

    said = capsys.readouterr().err
    assert said.startswith("keylease: error: internal error: AssertionError at cli/__init__.py:")
    assert SECRET not in said
    assert issubclass(InternalError, KeyleaseError)
