"""Whether memory for secrets is locked and closed; and a search for what is left in it.

The search runs the helper on a credential that is made up, in a state directory that is removed
again, with keys of its own in the keychain, which are deleted. See `keylease.cli.doctor.trace`.
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
    """Tell what the system does for the memory of secrets.

    It is asked of this process, which `keylease.secrets.hardening` has shut as it shuts the helper.
    """
    got = protection()
    if got.locked:
        yield Finding("ok", f"memory for secrets is locked, never swapped{_limit()}")
    else:
        found = f"memory for secrets cannot be locked and may be swapped: {got.reason}{_limit()}"
        yield Finding("warn", found, "raise the limit (ulimit -l), or have the swap encrypted")
    if sys.platform == "linux":
        yield from _advised(got)
    yield from _shut()


def _advised(got: Protection) -> Iterator[Finding]:
    """Tell what madvise(2) refused: an old kernel, or a filter of system calls."""
    old = "it needs Linux 4.14, and no filter that refuses madvise(2)"
    if not got.undumped:
        yield Finding("warn", "memory for secrets is not kept out of core dumps", old)
    if not got.wiped_on_fork:
        yield Finding("warn", "memory for secrets is copied to a child that a library forks", old)


def _shut() -> Iterator[Finding]:
    limit, tracers_refused = restrictions()
    if limit == 0:
        yield Finding("ok", "a crash leaves no core file (the limit is 0)")
    elif sys.platform != "win32":
        told = {None: "it is not told", -1: "there is no limit"}.get(limit, f"{limit} bytes")
        yield Finding("warn", f"a crash can leave a core file ({told})", "run: ulimit -c 0")
    if os.environ.get(VARIABLE) == "1":
        found = f"{VARIABLE} lets programs of yours read the helper's memory"
        yield Finding("warn", found, f"take {VARIABLE} out of the environment")
    elif tracers_refused:
        yield Finding("ok", "other programs of yours cannot read the helper's memory")
    elif sys.platform == "linux":
        found = "other programs of yours can read the helper's memory: the kernel did not close it"
        yield Finding("warn", found, "see whether a filter of system calls refuses prctl(2)")


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
    # The way in which a program handles a password that nobody has thought about.
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
            """Return what git would bring."""
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
            """Return what to search for: all that there is by now."""
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
            """Run one operation; return what is left, and whether it answered the password."""
            keychain = ("--keychain", self.keychain) if self.keychain else ()
            words = [*isolated(_HELPER), *keychain, operation]
            with stopped_at_its_end(
                words, stdin=message, environment=dict(os.environ), directory=self.directory
            ) as traced:
                answered = bytes(self.password.reveal()) in traced.answer()
                return traced.scan(self.needles()), answered

        def control(self) -> int:
            """Return how many times an ordinary program leaves the same password."""
            with stopped_at_its_end(
                [sys.executable, "-I", "-c", ORDINARY],
                stdin=self.message(),
                environment={},
                directory=self.directory,
            ) as traced:
                return traced.scan(needles("password", self.password.reveal())).hits["password"]

        def delete_keys(self) -> None:
            """Take the keys of the trial out of the keychain and of the kernel again."""
            remove_pin()
            record = self.wiring.vault.record()
            if record is not None:
                keystore = self.wiring.vault.keystore(record)
                keystore.delete(record.session_item)
                keystore.delete(record.audit_item)

    def search(subject: Subject) -> Iterator[Finding]:
        """Run the helper, and tell what is left in its memory at its end."""
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
            remedy = "mend what is said above, or see what is refused: keylease config show"
            yield Finding("fail", f"memory was not searched: {what}", remedy)
            return
        unread = ", ".join(sorted({each.rpartition(" ")[2] for each in released.unreadable}))
        how = (
            f"searched {released.scanned >> 20} MiB in {released.regions} mappings at the helper's"
            f" end, not {len(released.unreadable)} that nobody can read ({unread}), and not"
            f" {released.files >> 20} MiB of files that it cannot write to (programs, libraries);"
            f" an ordinary program left the password {ordinary} times"
        )
        for operation, scan in (("store", stored), ("get", released)):
            for name, hits in scan.hits.items():
                if hits:
                    found = f"after {operation} the {name} is left in memory, {hits} times"
                    yield Finding("fail", found, "see what is known of it: docs/security.md")
        if not any((*stored.hits.values(), *released.hits.values())):
            names = sorted({name.partition(" in ")[0] for name in released.hits})
            yield Finding("ok", f"after store and get no {', '.join(names)} is left in memory")
        yield Finding("ok", how)

    @contextmanager
    def _trial(keychain: str | None) -> Iterator[_Trial]:
        """Yield a trial; the state directory, and what the environment says of it, end with it.

        Who ends it by a signal finds nothing of it left either: it ends as by Ctrl-C.
        """
        ending = (signal.SIGTERM, signal.SIGHUP)
        handlers = [signal.signal(each, signal.default_int_handler) for each in ending]
        before = os.environ.get(_STATE)
        directory = tempfile.mkdtemp(prefix="keylease-doctor-")
        os.environ[_STATE] = os.path.join(directory, "state")
        try:
            wiring = Wiring(keychain=keychain, seconds=4 * KEYCHAIN_SECONDS)
            with _word() as password, _word() as token:
                yield _Trial(wiring, keychain, directory, password, token)
        finally:
            if before is None:
                del os.environ[_STATE]
            else:
                os.environ[_STATE] = before
            shutil.rmtree(directory)
            for each, handler in zip(ending, handlers, strict=True):
                signal.signal(each, handler)

    def _word() -> Secret:
        """Return a password that is made up: printable, and nowhere else in any memory."""
        return Secret(os.urandom(24).hex().encode("ascii"))

else:

    def search(_: Subject) -> Iterator[Finding]:
        """Say that it is for Linux."""
        yield Finding("warn", f"memory is searched on Linux only, and this is {sys.platform}")
