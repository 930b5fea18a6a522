"""A real Secret Service for tests: gnome-keyring on a private bus in a throwaway HOME.

    with GnomeKeyring() as keyring:
        run([...], env=os.environ | keyring.environment)

The default is the state after a desktop login: a `login` collection, unlocked. `initialised=False`
is a machine without a keyring: the bus starts the daemon on demand, and there is no default
collection. Everything ends with the block, and no other process is touched.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support.requirements import require

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from jeepney.io.blocking import DBusConnection

SERVICE = "org.freedesktop.secrets"
ROOT = "/org/freedesktop/secrets"
LOGIN = f"{ROOT}/collection/login"
PASSWORD = b"the login password"
WAIT_SECONDS = 20

BUS_CONFIGURATION = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={directory}/bus</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{directory}/services</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""

# A locked keyring asks for the password by the prompter. This prompter records the call and never
# answers, like a prompt on an unattended screen.
PROMPTER = "/bin/sh -c 'touch {directory}/prompted; echo > {directory}/prompting; exec sleep 600'"
ACTIVATED = {
    SERVICE: "{daemon} --start --foreground --components=secrets",
    "org.gnome.keyring.SystemPrompter": PROMPTER,
    "org.gnome.keyring.PrivatePrompter": PROMPTER,
}


def require_gnome_keyring() -> None:
    """Skip the test if this machine has no gnome-keyring to start."""
    for program in ("gnome-keyring-daemon", "dbus-daemon"):
        require(shutil.which(program), "secret-service", f"{program} is not on PATH")
    try:
        import jeepney  # noqa: F401, PLC0415 - only a check that it is installed
    except ImportError:
        require(condition=False, name="secret-service", reason="jeepney is not installed")


class GnomeKeyring:
    """A private bus and, unless `initialised` is false, an unlocked gnome-keyring on it.

    Args:
        initialised: Whether there is a `login` collection.
        activatable: Whether the bus can start the daemon on demand. If both are false, the bus has
            no Secret Service.
    """

    def __init__(self, *, initialised: bool = True, activatable: bool = True) -> None:
        self._initialised = initialised
        self._activatable = activatable
        self._stopped: int | None = None

    def __enter__(self) -> Self:
        """Start; on return the daemon owns its name and its collection is unlocked."""
        require_gnome_keyring()
        self._cleanup = contextlib.ExitStack()
        with contextlib.ExitStack() as cleanup:
            # A socket's path has at most 107 bytes, so pytest's own directories are too long.
            self.directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kl-")))
            self._lay_out()
            self._bus = subprocess.Popen(
                [
                    "dbus-daemon",
                    f"--config-file={self.directory}/bus.conf",
                    "--nofork",
                    "--print-address",
                ],
                env=self._own_environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # the daemons that it activates are its children
            )
            cleanup.callback(self._end_bus)
            assert self._bus.stdout is not None
            address = self._bus.stdout.readline().decode().strip()
            self.environment = {**self._own_environment, "DBUS_SESSION_BUS_ADDRESS": address}
            """What to put over `os.environ` for a process that is to see this keyring."""
            if self._initialised:
                self.start()
                cleanup.callback(self._end_daemon)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the daemon, the bus and the directory."""
        self._cleanup.close()

    def _lay_out(self) -> None:
        # None of the caller's environment: no display and no other bus.
        self._own_environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory / "home"),
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            "XDG_DATA_HOME": str(self.directory / "home" / ".local" / "share"),
            "XDG_CONFIG_HOME": str(self.directory / "home" / ".config"),
            "XDG_CACHE_HOME": str(self.directory / "home" / ".cache"),
            "XDG_STATE_HOME": str(self.directory / "home" / ".local" / "state"),
        }
        for name in ("home", "run", "services"):
            (self.directory / name).mkdir(mode=0o700)
        os.mkfifo(self.directory / "prompting")
        configuration = BUS_CONFIGURATION.format(directory=self.directory)
        (self.directory / "bus.conf").write_text(configuration)
        for name, command in ACTIVATED.items() if self._activatable else ():
            daemon = shutil.which("gnome-keyring-daemon")
            words = command.format(daemon=daemon, directory=self.directory)
            text = f"[D-BUS Service]\nName={name}\nExec={words}\n"
            (self.directory / "services" / f"{name}.service").write_text(text)

    def start(self) -> None:
        """Start a daemon with the password, as a login does, so it is unlocked."""
        self._daemon = subprocess.Popen(
            ["gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._daemon.stdin is not None
        # The daemon takes all of stdin as the password, including a newline.
        self._daemon.stdin.write(PASSWORD)
        self._daemon.stdin.close()
        self._wait_until_owned(owned=True)
        self._wait_until_unlocked()

    def _end_daemon(self) -> None:
        self._daemon.kill()
        self._daemon.wait(WAIT_SECONDS)

    def _end_bus(self) -> None:
        # The daemons that the bus started are in its process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bus.pid, signal.SIGKILL)
        self._bus.wait(WAIT_SECONDS)
        assert self._bus.stdout is not None
        self._bus.stdout.close()

    @property
    def pid(self) -> int:
        """The process that owns the Secret Service's name now."""
        from jeepney import message_bus  # noqa: PLC0415 - not everywhere installed

        return int(self._call(message_bus.GetConnectionUnixProcessID(SERVICE))[0])

    @property
    def owned(self) -> bool:
        """Whether a process owns the Secret Service's name; asking starts none."""
        from jeepney import message_bus  # noqa: PLC0415

        return bool(self._call(message_bus.NameHasOwner(SERVICE))[0])

    @property
    def prompted(self) -> bool:
        """Whether a prompt was ever shown."""
        return (self.directory / "prompted").exists()

    def wait_until_prompted(self) -> None:
        """Return when a prompt is shown, or fail at the deadline."""
        fifo = os.open(self.directory / "prompting", os.O_RDONLY | os.O_NONBLOCK)
        try:
            readable, _, _ = select.select([fifo], [], [], WAIT_SECONDS)
        finally:
            os.close(fifo)
        assert readable, "no prompt for a password was shown"

    def lock(self, collection: str = LOGIN) -> None:
        """Lock the collection, as the desktop's lock does."""
        self._secrets("Service", "Lock", "ao", ([collection],))

    def unlock(self, collection: str = LOGIN) -> None:
        """Unlock the collection by password, without a prompt."""
        with self._connection() as connection:
            session = self._session(connection)
            secret = (session, b"", PASSWORD, "text/plain")
            self._internal(
                connection, "UnlockWithMasterPassword", "o(oayays)", (collection, secret)
            )

    def create_collection(self, label: str) -> str:
        """Make another unlocked collection and return its path."""
        with self._connection() as connection:
            properties = {"org.freedesktop.Secret.Collection.Label": ("s", label)}
            secret = (self._session(connection), b"", PASSWORD, "text/plain")
            body = (properties, secret)
            (path,) = self._internal(connection, "CreateWithMasterPassword", "a{sv}(oayays)", body)
            return str(path)

    def set_default(self, collection: str) -> None:
        """Make `collection` the default; `/` means no default."""
        self._secrets("Service", "SetAlias", "so", ("default", collection))

    def stop(self) -> None:
        """Suspend the daemon, so that it never answers (SIGSTOP)."""
        self._stopped = self.pid
        os.kill(self._stopped, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the daemon (SIGCONT)."""
        assert self._stopped is not None
        os.kill(self._stopped, signal.SIGCONT)
        self._stopped = None

    def kill(self) -> None:
        """Kill the daemon (SIGKILL); the next call makes the bus start a locked one."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        if self._initialised and pid == self._daemon.pid:
            self._daemon.wait(WAIT_SECONDS)
        self._wait_until_owned(owned=False)

    def stop_bus(self) -> None:
        """Suspend the bus."""
        os.kill(self._bus.pid, signal.SIGSTOP)

    def resume_bus(self) -> None:
        """Resume the bus."""
        os.kill(self._bus.pid, signal.SIGCONT)

    def _connection(self) -> DBusConnection:
        from jeepney.io.blocking import DBusConnection, prep_socket  # noqa: PLC0415

        return DBusConnection(prep_socket(f"{self.directory}/bus"))

    def _call(self, message: object, on: DBusConnection | None = None) -> tuple[object, ...]:
        from jeepney.wrappers import unwrap_msg  # noqa: PLC0415

        if on is None:
            with self._connection() as connection:
                return self._call(message, connection)
        return unwrap_msg(on.send_and_get_reply(message, timeout=WAIT_SECONDS))

    def _secrets(
        self, interface: str, member: str, signature: str, body: tuple[object, ...]
    ) -> None:
        from jeepney import DBusAddress, new_method_call  # noqa: PLC0415

        address = DBusAddress(ROOT, SERVICE, f"org.freedesktop.Secret.{interface}")
        self._call(new_method_call(address, member, signature, body))

    def _internal(
        self, connection: DBusConnection, member: str, signature: str, body: tuple[object, ...]
    ) -> tuple[object, ...]:
        from jeepney import DBusAddress, new_method_call  # noqa: PLC0415

        interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface"
        message = new_method_call(DBusAddress(ROOT, SERVICE, interface), member, signature, body)
        return self._call(message, connection)

    def _session(self, connection: DBusConnection) -> object:
        from jeepney import DBusAddress, new_method_call  # noqa: PLC0415

        address = DBusAddress(ROOT, SERVICE, "org.freedesktop.Secret.Service")
        message = new_method_call(address, "OpenSession", "sv", ("plain", ("s", "")))
        return self._call(message, connection)[1]

    def _wait_until_unlocked(self) -> None:
        """Return when the daemon has used the password, which is after it takes its name."""
        from jeepney import DBusAddress, DBusErrorResponse, Properties  # noqa: PLC0415

        interface = "org.freedesktop.Secret.Collection"
        question = Properties(DBusAddress(LOGIN, SERVICE, interface)).get("Locked")
        until = time.monotonic() + WAIT_SECONDS
        with self._connection() as connection:
            while time.monotonic() < until:
                # No signal reports the first unlocking: before it there is no collection.
                with contextlib.suppress(DBusErrorResponse):
                    if self._call(question, connection) == (("b", False),):
                        return
        msg = "gnome-keyring did not unlock its collection"
        raise TimeoutError(msg)

    def _wait_until_owned(self, *, owned: bool) -> None:
        from jeepney import MatchRule, message_bus  # noqa: PLC0415

        rule = MatchRule(
            type="signal",
            sender="org.freedesktop.DBus",
            interface="org.freedesktop.DBus",
            member="NameOwnerChanged",
        )
        rule.add_arg_condition(0, SERVICE)
        with self._connection() as connection, connection.filter(rule) as changes:
            ask: Callable[[], tuple[object, ...]] = lambda: self._call(  # noqa: E731
                message_bus.NameHasOwner(SERVICE), connection
            )
            self._call(message_bus.AddMatch(rule), connection)
            while ask() != (int(owned),):
                connection.recv_until_filtered(changes, timeout=WAIT_SECONDS)
