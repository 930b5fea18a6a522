"""Files in which other tools keep passwords and tokens in plaintext.

A file is opened, searched for what a credential looks like in its format, and forgotten. Its path
is told, never anything of its content. What our own setups made of such files is looked into, too.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from keylease.cli.doctor.base import Finding
from keylease.cli.setup import records
from keylease.errors import KeyleaseError
from keylease.secrets.memory import secure_clear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keylease.cli.doctor.base import Subject

MOST_BYTES: Final = 1 << 20
"""No more of a file is searched."""
_OTHERS: Final = 0o077


class PlaintextFile(NamedTuple):
    """Where a tool keeps credentials, and how one is recognised there."""

    tool: str
    name: str
    """Relative to `base`."""
    credential: re.Pattern[bytes]
    remedy: str
    variable: str = ""
    """The environment variable that names another directory, if there is one."""
    base: str = "~"
    """The directory if that is not set; empty if the tool then keeps them nowhere."""


def _pattern(text: bytes) -> re.Pattern[bytes]:
    return re.compile(text, re.MULTILINE | re.IGNORECASE)


# git-credential-store(1): a URL with user name and password on each line.
_GIT: Final = _pattern(rb"^[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")
_GIT_REMEDY: Final = "run: keylease setup git; then delete the file and change the passwords in it"
# docker-login(1): base64 of user name and password, or a token. With a credential store the entry
# of a registry is empty.
_DOCKER: Final = _pattern(rb'"(?:auth|password|identitytoken|registrytoken)"\s*:\s*"[^"]+"')
# .netrc of ftp(1) and curl(1).
_NETRC: Final = _pattern(rb"(?:^|\s)password\s+\S")
_NETRC_REMEDY: Final = "take the passwords out, and change them"
# The Cargo Book, "Configuration": [registry] and [registries.NAME] have a token.
_CARGO: Final = _pattern(rb"^[ \t]*token[ \t]*=[ \t]*[\"']\S")
_CARGO_REMEDY: Final = "run: keylease setup cargo; log in again, delete the file, change the tokens"
# kubectl(1), "kubeconfig": what a user authenticates with, beside `exec`.
_KUBERNETES: Final = _pattern(rb"^[ \t]*(?:- )?(?:token|password|client-key-data)[ \t]*:[ \t]*\S")
# npmrc(5): a token that stands in a variable is no plaintext.
_NPM: Final = _pattern(rb"(?:^|:)_(?:authToken|password|auth)\s*=\s*[\"']?(?!\$\{)[^\s\"']")
# pip.conf(5) and the like: a URL with user name and password in it.
_URL: Final = _pattern(rb"[a-z][a-z0-9+.-]*://[^/\s:@]*:(?!\$\{)[^/\s@]+@")
_PIP_REMEDY: Final = "take the password out of the URL; run: keylease setup pip; then log in"
_PODMAN_REMEDY: Final = "run: keylease setup podman; log in again, delete it, change the passwords"

_TIDY: Final = "run: keylease gc"

PLACES: Final = (
    PlaintextFile("git", ".git-credentials", _GIT, _GIT_REMEDY),
    PlaintextFile("git", "git/credentials", _GIT, _GIT_REMEDY, "XDG_CONFIG_HOME", "~/.config"),
    PlaintextFile(
        "docker",
        "config.json",
        _DOCKER,
        "run: keylease setup docker --move; then change the passwords that were in it",
        "DOCKER_CONFIG",
        "~/.docker",
    ),
    # The manual page of auth.json names both, the first one first.
    PlaintextFile("podman", "containers/auth.json", _DOCKER, _PODMAN_REMEDY, "XDG_RUNTIME_DIR", ""),
    PlaintextFile(
        "podman", "containers/auth.json", _DOCKER, _PODMAN_REMEDY, "XDG_CONFIG_HOME", "~/.config"
    ),
    PlaintextFile("curl, git and others", ".netrc", _NETRC, _NETRC_REMEDY),
    PlaintextFile("curl, git and others", "_netrc", _NETRC, _NETRC_REMEDY),
    PlaintextFile("cargo", "credentials.toml", _CARGO, _CARGO_REMEDY, "CARGO_HOME", "~/.cargo"),
    PlaintextFile("cargo", "credentials", _CARGO, _CARGO_REMEDY, "CARGO_HOME", "~/.cargo"),
    PlaintextFile(
        "vault", ".vault-token", _pattern(rb"\S"), "revoke it, and run: keylease setup vault"
    ),
    PlaintextFile(
        "twine",
        ".pypirc",
        _pattern(rb"^[ \t]*password[ \t]*[:=][ \t]*\S"),
        "take the password out; twine asks the keyring for it",
    ),
    PlaintextFile("pip", "pip/pip.conf", _URL, _PIP_REMEDY, "XDG_CONFIG_HOME", "~/.config"),
    PlaintextFile("pip", ".pip/pip.conf", _URL, _PIP_REMEDY),
    PlaintextFile(
        "poetry",
        "pypoetry/auth.toml",
        _pattern(rb"^[ \t]*(?:password[ \t]*=[ \t]*[\"'][^\"'\s]|\[pypi-token)"),
        "run: poetry config --unset http-basic.NAME; then: keylease login URL",
        "XDG_CONFIG_HOME",
        "~/.config",
    ),
    PlaintextFile(
        "npm", ".npmrc", _NPM, "for pnpm: keylease setup pnpm REGISTRY; for npm: npm logout"
    ),
    PlaintextFile(
        "aws",
        "credentials",
        _pattern(rb"^[ \t]*aws_secret_access_key[ \t]*=[ \t]*\S"),
        "run: keylease setup aws PROFILE; take the key out, and change it at AWS",
        base="~/.aws",
    ),
    PlaintextFile(
        "kubernetes",
        "config",
        _KUBERNETES,
        "take it out of the user, and run: keylease setup kubernetes USER",
        base="~/.kube",
    ),
    # "CLI Configuration" in Terraform's documentation: a block `credentials` with a token.
    PlaintextFile(
        "terraform",
        ".terraformrc",
        _pattern(rb"^[^#\n]*\btoken[ \t]*=[ \t]*\"\S"),
        "take the block out; run: keylease setup terraform; then: terraform login",
    ),
    PlaintextFile(
        "bazel",
        ".bazelrc",
        _pattern(rb"^[^#\n]*_header=[\"']?(?:proxy-)?authorization="),
        "take the line out; run: keylease setup bazel HOST; then log in",
    ),
    PlaintextFile(
        "terraform",
        ".terraform.d/credentials.tfrc.json",
        _pattern(rb'"token"\s*:\s*"[^"]+"'),
        "run: terraform logout; then: keylease setup terraform",
    ),
)
"""What is looked into. A file that a tool is told to use elsewhere is not found."""


def check(_: Subject) -> Iterator[Finding]:
    """Look into each place."""
    found = False
    for place, path in _paths():
        try:
            mode = _holds(path, place.credential)
        except OSError as error:
            found = True
            remedy = "look into it yourself"
            yield Finding("warn", f"{path} cannot be looked into: {error.strerror}", remedy)
            continue
        if mode is not None:
            found = True
            others = ", and others may read it" if mode & _OTHERS else ""
            said = f"{path} ({place.tool}) holds a password or token in plaintext{others}"
            yield Finding("warn", said, place.remedy)
    for finding in _own():
        found = True
        yield finding
    if not found:
        yield Finding("ok", f"no credential in the {len(PLACES)} files that tools keep them in")


def _own() -> Iterator[Finding]:
    """Look into what setups have made: the records, and the copies that killed ones left."""
    for tool in records.tools():
        try:
            path, copies = records.path(tool), records.abandoned(tool)
            holds = any(_is_credential(each) for each in records.contents(tool))
            if holds or not records.is_lean(tool):
                said = f"{path} (keylease) holds a part of the {tool} configuration"
                yield Finding("warn", f"{said}, which may be a password or token", _TIDY)
        except KeyleaseError as error:
            yield Finding("warn", f"{tool}: {error}", error.hint)
            continue
        for each in copies:
            said = f"{each} (keylease) is a copy of the {tool} configuration"
            yield Finding("warn", f"{said}, left by a setup that was killed", _TIDY)


def _is_credential(content: bytes) -> bool:
    # Vault's file has a token and nothing else, so there everything is one.
    return any(place.credential.search(content) for place in PLACES if place.tool != "vault")


def holders() -> Iterator[tuple[PlaintextFile, str]]:
    """Yield each place that has a credential, and its path. What cannot be looked into is left."""
    for place, path in _paths():
        with suppress(OSError):
            if _holds(path, place.credential) is not None:
                yield place, path


def _paths() -> Iterator[tuple[PlaintextFile, str]]:
    for place in PLACES:
        named = os.environ.get(place.variable) if place.variable else None
        if base := named or os.path.expanduser(place.base):
            yield place, os.path.join(base, place.name)


def _holds(path: str, credential: re.Pattern[bytes]) -> int | None:
    """Return the file's mode if there is a credential in it, else `None`."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    content = bytearray(MOST_BYTES)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            return None
        length = 0
        with os.fdopen(fd, "rb", buffering=0, closefd=False) as file, memoryview(content) as view:
            while count := file.readinto(view[length:]):
                length += count
        # On Windows the mode says nothing about others; there it is the directory that does.
        private = 0 if os.name == "nt" else mode
        return private if credential.search(content, 0, length) else None
    finally:
        secure_clear(content)
        os.close(fd)
