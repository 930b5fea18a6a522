"""Check that memory for secrets is locked and protected; with `--memory`, search it for copies.

The search runs the helper with a made-up credential in a temporary state directory. It puts its own
keys into the keychain and deletes them at the end. See `keylease.cli.doctor.trace`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from keylease.cli.doctor.base import KEYCHAIN_SECONDS, Finding
from keylease.programs import isolated
from keylease.secrets.hardening import VARIABLE, restrictions
from keylease.secrets.memory import protection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject
    from keylease.secrets.memory import Protection


def check(_: Subject) -> Iterator[Finding]:
    """Report how the system protects the memory of secrets.

    The answers are those of this process. `keylease.secrets.hardening` restricts it like the
    helper.
    """
    got = protection()
    if got.locked:
        yield Finding("ok", f"memory for secrets is locked, never swapped{_limit()}")
    else:
        found = f"memory for secrets cannot be locked and may be swapped: {got.reason}{_limit()}"
        yield Finding("warn", found, "raise the limit (ulimit -l), or have the swap encrypted")
    if sys.platform == "linux":
        yield from _advised(got)
    yield from _restrictions()


def _advised(got: Protection) -> Iterator[Finding]:
    """Report what madvise(2) refused: the kernel is old, or a filter of system calls forbids it."""
    remedy = "it needs Linux 4.14, and no filter that refuses madvise(2)"
    if not got.undumped:
        yield Finding("warn", "memory for secrets is not kept out of core dumps", remedy)
    if not got.wiped_on_fork:
        found = "memory for secrets is copied to a child that a library forks"
        yield Finding("warn", found, remedy)


def _restrictions() -> Iterator[Finding]:
    limit, tracers_refused = restrictions()
    if limit == 0:
        yield Finding("ok", "a crash leaves no core file (the limit is 0)")
    elif sys.platform != "win32":
        size = {None: "the limit is unknown", -1: "no limit"}.get(limit, f"up to {limit} bytes")
        yield Finding("warn", f"a crash can leave a core file ({size})", "run: ulimit -c 0")
    if os.environ.get(VARIABLE) == "1":
        found = f"{VARIABLE} lets your other programs read the helper's memory"
        yield Finding("warn", found, f"take {VARIABLE} out of the environment")
    elif tracers_refused:
        yield Finding("ok", "your other programs cannot read the helper's memory")
    elif sys.platform == "linux":
        found = "your other programs can read the helper's memory: the kernel does not protect it"
        yield Finding("warn", found, "check whether a filter of system calls refuses prctl(2)")


if sys.platform == "win32":

    def _limit() -> str:
        return ""

else:
    import resource

    def _limit() -> str:
        try:
            limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        except OSError:  # a filter of system calls
            return ""
        if limit == resource.RLIM_INFINITY:
            return " (there is no limit)"
        return f" (the limit is {limit // 1024} KiB)"


if sys.platform == "linux":
    import shutil
    import signal
    import tempfile
    from contextlib import contextmanager, suppress
    from typing import NamedTuple

    from keylease.cli.doctor.scan import Needle, Scan, needles
    from keylease.cli.doctor.trace import TraceError, stopped_at_its_end
    from keylease.errors import KeyleaseError
    from keylease.secrets.secret import Secret
    from keylease.store.format import HEADER_BYTES
    from keylease.store.seal import session_keys
    from keylease.wiring import Wiring, remove_pin

    _STATE: Final = "KEYLEASE_STATE_DIR"
    _WHERE: Final = b"protocol=https\nhost=keylease-doctor.invalid\n"
    _HELPER: Final = "import sys; from keylease.helper import main; main('git', sys.argv[1:])"
    # The control: a program that takes no care of a password.
    ORDINARY: Final = """
import os, sys
fields = dict(line.split("=", 1) for line in sys.stdin.read().splitlines() if line)
answer = "".join(f"{key}={value}\\n" for key, value in fields.items())
os.write(1, answer.encode())
del fields, answer
os._exit(0)
"""

    class _Trial(NamedTuple):
        """A helper with a state directory of its own."""

        wiring: Wiring
        keychain: str | None
        directory: str
        password: Secret
        token: Secret

        def message(self) -> bytes:
            """Return the message that git would send."""
            return b"".join(
                (
                    _WHERE,
                    b"username=doctor\npassword=",
                    self.password.reveal(),
                    b"\noauth_refresh_token=",
                    self.token.reveal(),
                    b"\n\n",
                )
            )

        def needles(self) -> list[Needle]:
            """Return what to search for: each secret that exists by now."""
            found = needles("password", self.password.reveal())
            found += needles("refresh token", self.token.reveal())
            with suppress(KeyleaseError):
                found += self._keys()
            return found

        def _keys(self) -> list[Needle]:
            keys = self.wiring.vault.open(self.wiring.clock.now())
            if keys is None:
                return []
            found = []
            with keys, self.wiring.store.exclusive(keys) as sessions:
                found += needles("vault key", keys.session.reveal())
                if keys.audit is not None:
                    found += needles("audit key", keys.audit.reveal())
                for each in sessions.all():
                    if each.keys is None or each.opened is None:
                        continue
                    if each.keys.share is not None:
                        found += needles("share", each.keys.share.reveal())
                    for key in session_keys(each.keys, each.opened.sealed[:HEADER_BYTES]):
                        found += needles("session key", key.reveal())
            return found

        def run(self, operation: str, message: bytes) -> tuple[Scan, bool]:
            """Run one operation; return what is left, and whether the answer has the password."""
            keychain = ("--keychain", self.keychain) if self.keychain else ()
            words = [*isolated(_HELPER), *keychain, operation]
            with stopped_at_its_end(
                words, stdin=message, environment=dict(os.environ), directory=self.directory
            ) as traced:
                answered = bytes(self.password.reveal()) in traced.answer()
                return traced.scan(self.needles()), answered

        def control(self) -> int:
            """Return how many copies of the password an ordinary program leaves."""
            with stopped_at_its_end(
                [sys.executable, "-I", "-c", ORDINARY],
                stdin=self.message(),
                environment={},
                directory=self.directory,
            ) as traced:
                return traced.scan(needles("password", self.password.reveal())).hits["password"]

        def delete_keys(self) -> None:
            """Delete the trial's keys from the keychain and from the kernel."""
            remove_pin()
            record = self.wiring.vault.record()
            if record is not None:
                keystore = self.wiring.vault.keystore(record)
                keystore.delete(record.session_item)
                keystore.delete(record.audit_item)

    def search(subject: Subject) -> Iterator[Finding]:
        """Run the helper, and report what is left in its memory at its end."""
        with _trial(subject.keychain) as trial:
            try:
                ordinary = trial.control()
            except TraceError as error:
                yield Finding("fail", f"memory was not searched: {error}", error.hint)
                return
            try:
                stored, _ = trial.run("store", trial.message())
                released, answered = trial.run("get", _WHERE + b"\n")
                trial.run("erase", _WHERE + b"\n")
            finally:
                trial.delete_keys()
        yield from _judge(stored, released, answered=answered, ordinary=ordinary)

    def _judge(stored: Scan, released: Scan, *, answered: bool, ordinary: int) -> Iterator[Finding]:
        if not answered or not ordinary:
            what = "the helper started no session" if ordinary else "the control found nothing"
            remedy = "fix the faults above, or check the settings: keylease config show"
            yield Finding("fail", f"memory was not searched: {what}", remedy)
            return
        unread = ", ".join(sorted({each.rpartition(" ")[2] for each in released.unreadable}))
        how = (
            f"searched {released.scanned >> 20} MiB in {released.regions} mappings at the helper's"
            f" end; skipped {len(released.unreadable)} that the kernel hides ({unread}) and"
            f" {released.files >> 20} MiB of files that the helper cannot change (programs,"
            f" libraries); an ordinary program left the password {ordinary} times"
        )
        for operation, scan in (("store", stored), ("get", released)):
            for name, hits in scan.hits.items():
                if hits:
                    found = f"after {operation} the {name} is left in memory, {hits} times"
                    yield Finding("fail", found, "see the known limits: docs/security.md")
        if not any((*stored.hits.values(), *released.hits.values())):
            names = sorted({name.partition(" in ")[0] for name in released.hits})
            yield Finding("ok", f"after store and get no {', '.join(names)} is left in memory")
        yield Finding("ok", how)

    @contextmanager
    def _trial(keychain: str | None) -> Iterator[_Trial]:
        """Yield a trial; remove its state directory and its environment variable at the end.

        A signal removes them, too: it raises KeyboardInterrupt, as Ctrl-C does.
        """
        ending = (signal.SIGTERM, signal.SIGHUP)
        handlers = [signal.signal(each, signal.default_int_handler) for each in ending]
        before = os.environ.get(_STATE)
        directory = tempfile.mkdtemp(prefix="keylease-doctor-")
        os.environ[_STATE] = os.path.join(directory, "state")
        try:
            wiring = Wiring(keychain=keychain, seconds=4 * KEYCHAIN_SECONDS)
            with _password() as password, _password() as token:
                yield _Trial(wiring, keychain, directory, password, token)
        finally:
            if before is None:
                del os.environ[_STATE]
            else:
                os.environ[_STATE] = before
            shutil.rmtree(directory)
            for each, handler in zip(ending, handlers, strict=True):
                signal.signal(each, handler)

    def _password() -> Secret:
        """Return a made-up password: printable, and not in any other memory."""
        return Secret(os.urandom(24).hex().encode("ascii"))

else:

    def search(_: Subject) -> Iterator[Finding]:
        """Report that the search needs Linux."""
        yield Finding("warn", f"memory is searched on Linux only, and this is {sys.platform}")
