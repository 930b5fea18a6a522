"""pip, uv, twine, poetry and hatch ask keylease through the `keyring` library.

Each runs against an index that checks the password. The library finds keylease by its entry point,
so the clients must be installed beside it: `make interop` does that.
"""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.clients import ENDS_SOON, find_client, holders, wait_until
from support.package_index import PACKAGE, WHEEL, PackageIndex, project
from support.requirements import require

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from support.throwaway import Throwaway

if sys.platform == "win32":
    pytest.skip("the home of these tests is made of links", allow_module_level=True)

from support.pseudo_terminal import PseudoTerminal

USERNAME, PASSWORD = "ada", "correct horse battery staple"
# None of them may read the configuration of the user who runs the tests.
ALONE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1",
    "UV_NO_CONFIG": "1",
    "UV_NO_CACHE": "1",
    "NO_COLOR": "1",
}
# The message of each client that was refused.
REFUSED = {
    "pip-import": "No matching distribution found",
    "pip-subprocess": "401 Error, Credentials not correct",
    "uv": "401 Unauthorized",
    "uv-publish": "401 Unauthorized",
    "twine": "Credential not found for",
    "poetry": "HTTP Error 401: Unauthorized",
    "hatch": "Missing required option: auth",
}
CLIENTS = sorted(REFUSED)


def require_pip() -> None:
    """Skip the test if the pip beside Python has no option for the keyring library."""
    release = tuple(int(part) for part in version("pip").split(".")[:2])
    require(release >= (23, 1), "pip", "it is older than 23.1, which brought --keyring-provider")


class Rig(NamedTuple):
    """A home with its clients, and their index."""

    home: Throwaway
    index: PackageIndex
    package: Path

    def words(self, client: str) -> list[str]:
        """Return the command with which a client downloads or uploads the package."""
        index, upload = self.index.url, self.index.upload_url
        if client.startswith("pip"):
            require_pip()
            provider = client.partition("-")[2]
            words = f"-m pip download --no-deps --no-input --keyring-provider {provider}"
            # pip's subprocess asks with the user of the URL (before 26.2 only then).
            url = index.replace("://", f"://{USERNAME}@") if provider == "subprocess" else index
            return [sys.executable, *words.split(), "--index-url", url, "-d", "out", PACKAGE]
        if client == "uv":
            words = "pip install --no-deps --reinstall --target out --keyring-provider subprocess"
            url = index.replace("://", f"://{USERNAME}@")
            into = ["--index-url", url, "-p", sys.executable]
            return [find_client("uv"), *words.split(), *into, PACKAGE]
        if client == "uv-publish":
            words = f"publish --username {USERNAME} --keyring-provider subprocess --publish-url"
            return [find_client("uv"), *words.split(), upload, str(self.package)]
        if client == "twine":
            words = ["upload", "--non-interactive", "--repository-url", upload]
            return [find_client("twine"), *words, str(self.package)]
        if client == "poetry":
            words = f"-n -C {self.package.parent.parent} publish -r probe --dist-dir dist".split()
            return [find_client("poetry"), *words]
        words = ["publish", "-n", "-r", upload, "-u", USERNAME, str(self.package)]
        return [find_client("hatch"), *words]

    def run(self, client: str) -> subprocess.CompletedProcess[str]:
        """Run a client without a user to answer questions."""
        return self.home.run(*self.words(client))

    def login(self) -> None:
        """Start a session for the host, or fail."""
        words = ("--username", USERNAME, "--password-stdin")
        done = self.home.run(
            "keylease", "login", f"http://{self.index.host}", *words, stdin=PASSWORD
        )
        assert (0, "") == (done.returncode, done.stderr)

    def released(self) -> int:
        """Return how many releases of the password the log has."""
        return [line["event"] for line in self.home.audit()].count("session.released")


@pytest.fixture
def rig(tmp_path: Path, kernel_home: Throwaway) -> Iterator[Rig]:
    """Return a home with a project, and an index that accepts ada."""
    scripts = Path(sysconfig.get_path("scripts"))
    require((scripts / "keyring").exists(), "installed", "keyring is not installed beside Python")
    (tmp_path / "bin" / "keyring").symlink_to(scripts / "keyring")
    kernel_home.environment |= ALONE
    package = project(kernel_home.home / "project")
    with PackageIndex(USERNAME, PASSWORD) as index:
        kernel_home.environment["POETRY_REPOSITORIES_PROBE_URL"] = index.upload_url
        yield Rig(kernel_home, index, package)


@pytest.mark.parametrize("client", CLIENTS)
def test_session_lets_the_client_in_until_it_ends(rig: Rig, client: str) -> None:
    """One login serves every run, leaves no password in a file, and ends by itself.

    After the end the client says what it says about any missing password.
    """
    rig.login()
    first, second = rig.run(client), rig.run(client)
    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert rig.index.let_in() >= 2
    assert rig.released() >= 2
    assert [] == holders(rig.home, PASSWORD, rig.index.encoded)

    rig.home.environment |= ENDS_SOON
    rig.login()
    status = ("keylease", "status", f"http://{rig.index.host}")
    wait_until(lambda: rig.home.run(*status).returncode == 3)
    done = rig.run(client)

    assert done.returncode != 0
    assert 0 == rig.index.let_in()
    assert REFUSED[client] in done.stdout + done.stderr


def test_logout_ends_it_for_all(rig: Rig) -> None:
    """After one logout every client is refused."""
    rig.login()
    assert 0 == rig.run("pip-import").returncode
    rig.home.run("keylease", "logout", f"http://{rig.index.host}")
    rig.index.let_in()

    assert rig.run("pip-import").returncode != 0
    assert 0 == rig.index.let_in()


def test_pip_saves_what_it_asked_for(rig: Rig) -> None:
    """A password typed at pip's own question becomes a session if the user agrees to save it."""
    words = [word for word in rig.words("pip-import") if word != "--no-input"]
    with PseudoTerminal() as terminal:
        script = f'cd "$HOME"; exec </dev/tty >/dev/tty 2>&1; {shlex.join(words)}'
        process = terminal.start(["sh", "-c", script], rig.home.environment)
        for question, answer in (
            ("User for ", USERNAME),
            ("Password: ", PASSWORD),
            ("Save credentials to keyring [y/N]: ", "y"),
        ):
            terminal.wait_for(question)
            terminal.type(f"{answer}\n".encode())
        terminal.wait_for("Saved")
        code, _, _ = terminal.finish(process)

    assert 0 == code
    assert 0 == rig.run("pip-import").returncode
    assert 1 == rig.released()
    assert [] == holders(rig.home, PASSWORD, rig.index.encoded)


def test_program_of_the_library_asks_keylease(rig: Rig) -> None:
    """`keyring set`, `get` and `del` start, read and end a session, and store nothing else."""
    url = rig.index.url
    assert 0 == rig.home.run("keyring", "set", url, USERNAME, stdin=PASSWORD).returncode

    assert f"{PASSWORD}\n" == rig.home.run("keyring", "get", url, USERNAME).stdout
    assert 0 == rig.run("pip-import").returncode
    assert 0 == rig.home.run("keyring", "del", url, USERNAME).returncode
    assert 0 != rig.home.run("keyring", "get", url, USERNAME).returncode
    assert [] == holders(rig.home, PASSWORD)


def test_the_library_without_keylease_is_the_control(rig: Rig) -> None:
    """The control: with another backend chosen the session is not found, so keylease answered."""
    rig.login()
    rig.home.environment["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"

    assert rig.run("pip-import").returncode != 0
    assert 0 == rig.released()
    assert not (rig.home.home / "out" / WHEEL).exists()
