"""Read one configuration file: check that it can be trusted, then each value in it.

A file that another user could have written is refused. So is a file with any invalid line, because
an ignored line would be a limit that does not hold. This module and the TOML parser are imported
only if there is a file.

Not defended against: root. On Windows only the owner is checked, not the access list; see `_judge`.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from typing import TYPE_CHECKING, Final, NoReturn

from keylease.config.base import AUDIT, KEYS, Document, Stated, check, shown
from keylease.errors import ConfigError, is_visible, printable
from keylease.origin import origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keylease.config import Place
    from keylease.config.base import Section

LONGEST_FILE: Final = 64 * 1024
"""Bytes; room for a thousand targets."""
LONGEST_LINE: Final = 1000
"""Characters. tomllib takes 40 s for 64 KiB of one dotted key, while git waits."""
_TARGET: Final = "target"
_BOM: Final = "\ufeff"
_EXAMPLE: Final = 'one like "https://git.example" or "https://git.example:8443"'
# Not valid in a host with its port. This refuses a path, a user and a pattern, too.
_NOT_IN_HOST: Final = frozenset("/?#@*\\")


def read(place: Place) -> Document:
    """Return the content of the file.

    Raises:
        ConfigError: the file cannot be read or trusted, or something in it is not valid.
    """
    try:
        _judge_directory(place)
        fd = _open(place)
        try:
            _judge(place, fd)
            data = _read(fd)
        finally:
            os.close(fd)
    except OSError as error:
        msg = f"{printable(place.path)}: the file exists but cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    return _Parser(place, _text(place, data)).document()._replace(data=data)


def _is_of_tools(word: str) -> bool:
    """Return whether the word names a tool or its namespace, or is cargo's word for an index.

    A section holds for all tools. Only AWS sessions use the tool's name as their protocol.
    """
    if word in {"http", "https"}:
        return False  # the usual case, without the table of tools
    from keylease.protocols.peers import PROTOCOLS

    return word in {*PROTOCOLS, "npm", "web", "sparse+https"} - {"aws"}


class _Parser:
    """Turn one file's text into a document."""

    def __init__(self, place: Place, text: str) -> None:
        self._place = place
        self._text = text

    def document(self) -> Document:
        """Return the content of the text, with every value checked."""
        tables = self._parsed()
        sections = tables.pop(_TARGET, {})
        if not isinstance(sections, dict):
            self._refuse((), f"{_TARGET}: found {shown(sections)}, expected {self._example()}")
        about_log = tables.pop(AUDIT, {})
        if not isinstance(about_log, dict):
            self._refuse((), f"{AUDIT}: found {shown(about_log)}, expected a section [{AUDIT}]")
        general = self._section((), tables)
        general |= self._section((AUDIT,), about_log)
        targets: dict[str, Section] = {}
        for name, values in sections.items():
            path = (_TARGET, name)
            if not isinstance(values, dict):
                self._refuse(path, f"found {shown(values)}, expected {self._example()}")
            called = self._origin(name)
            if called in targets:
                self._refuse(path, f"another section is for the same target: {called}")
            targets[called] = self._section(path, values)
            self._keep_within(targets[called], general)
        return Document(general, targets)

    def _parsed(self) -> dict[str, object]:
        if self._text.startswith(_BOM):
            self._refuse((), "found a byte order mark at the start: save it as UTF-8 without one")
        try:
            return tomllib.loads(self._text)
        # RecursionError: nested brackets. tomllib's own error is a ValueError, and so is Python's
        # for a number with too many digits.
        except (ValueError, RecursionError) as error:
            deep = isinstance(error, RecursionError)
            reason = "it nests too deep" if deep else printable(str(error))
            msg = f"{printable(self._place.path)}: not TOML: {_small(reason)}"
            raise ConfigError(msg) from None

    def _section(self, path: tuple[str, ...], values: Mapping[str, object]) -> Section:
        section = {}
        table = f"{AUDIT}." if path == (AUDIT,) else ""
        for key, value in values.items():
            name = table + key
            self._judge_key((*path, key), name)
            # `check` refuses a value of a wrong type.
            stated = Stated(value, self._source((*path, key)))  # type: ignore[arg-type]
            section[name] = check(name, stated)
        self._keep_within({k: v for k, v in section.items() if k == "idle_timeout"}, section)
        return section

    def _judge_key(self, path: tuple[str, ...], name: str) -> None:
        """Refuse an unknown or misplaced key; `name` is its name in `KEYS`."""
        in_target, table = path[0] == _TARGET, name.rpartition(".")[0]
        possible = [
            each
            for each, key in KEYS.items()
            if (key.in_target or not in_target)
            and (not key.policy_only or self._place.kind == "policy")
            and each.rpartition(".")[0] == table
        ]
        if name in possible and "." not in path[-1]:
            return
        if name in KEYS and "." not in path[-1]:
            policy_only = KEYS[name].policy_only
            where = "allowed only in the policy file" if policy_only else "not allowed in a target"
            self._refuse(path, f"{name} is {where}")
        from difflib import get_close_matches

        if len(path) == 1:
            possible += [AUDIT, _TARGET]
        near = get_close_matches(name, possible, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}" if near else f"expected {', '.join(possible)}"
        self._refuse(path, f"there is no key {shown(name)}: {meant}")

    def _origin(self, name: str) -> str:
        protocol, separator, host = name.partition("://")
        if (
            not separator
            or not protocol.isascii()
            or not protocol.replace("+", "").replace("-", "").replace(".", "").isalnum()
            or not host
            or not _NOT_IN_HOST.isdisjoint(host)
            or not all(map(is_visible, host))
            or " " in host
        ):
            self._refuse((), f"found {shown(name)}, expected {self._example()}")
        if _is_of_tools(protocol.lower()):
            expected = f"the protocol of the server, whatever the tool, {_EXAMPLE}"
            self._refuse((), f"found {shown(name)}, expected {expected}")
        called = origin(protocol, host)
        server = called.partition("://")[2]
        # A wide slash becomes a slash, and a host of nothing but full stops becomes empty.
        if not server.isascii() or server[:1] in {"", ":"} or not _NOT_IN_HOST.isdisjoint(server):
            expected = f"a host that internationalized domain names allow (UTS 46), {_EXAMPLE}"
            self._refuse((), f"found {shown(name)}, expected {expected}")
        return called

    def _keep_within(self, section: Section, outer: Section) -> None:
        """Refuse a time that has no effect: a shorter one in the same file bounds it."""
        for name, bounds in (("idle_timeout", ("idle_timeout", "cap")), ("cap", ("cap",))):
            stated = section.get(name)
            for bound in bounds:
                limit = outer.get(bound)
                if stated and limit and stated.value > limit.value:  # type: ignore[operator]
                    msg = (
                        f"{stated.source}: {name}: found {stated.value}, expected at most"
                        f" {limit.value}, the {bound} of {limit.source}"
                    )
                    raise ConfigError(msg)

    @staticmethod
    def _example() -> str:
        return f"a section [target.NAME], its name in quotation marks and {_EXAMPLE}"

    def _source(self, path: tuple[str, ...]) -> str:
        """Return the file, and the section of a target in TOML's notation."""
        section = f" [{_TARGET}.{shown(path[1])}]" if path[:1] == (_TARGET,) else ""
        return printable(self._place.path) + section

    def _refuse(self, path: tuple[str, ...], what: str) -> NoReturn:
        msg = f"{self._source(path)}: {what}"
        raise ConfigError(msg)


def _text(place: Place, data: bytes) -> str:
    if len(data) > LONGEST_FILE:
        msg = f"{printable(place.path)}: the file has more than {LONGEST_FILE} bytes"
        raise ConfigError(msg)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"{printable(place.path)}:{line}: found a byte that is not UTF-8"
        raise ConfigError(msg) from None
    for number, each in enumerate(text.split("\n"), 1):
        if len(each) > LONGEST_LINE:
            msg = f"{printable(place.path)}:{number}: more than {LONGEST_LINE} characters in a line"
            raise ConfigError(msg)
    return text


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def _read(fd: int) -> bytes:
    data = b""
    while len(data) <= LONGEST_FILE and (chunk := os.read(fd, LONGEST_FILE + 1 - len(data))):
        data += chunk
    return data


if sys.platform != "win32":
    # O_NONBLOCK: without it open(2) of a FIFO waits for the other end. It does not affect a file.
    _FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    _OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

    def _open(place: Place) -> int:
        # The user's own file may be a link: programs that keep settings in one place make such
        # links, and the checks apply to its target. There is no reason for a policy to be a link.
        if place.kind == "policy" and stat.S_ISLNK(os.lstat(place.path).st_mode):
            _refuse(
                place.path, "is a symbolic link, not a regular file", "put the file itself there"
            )
        return os.open(place.path, _FLAGS | (os.O_NOFOLLOW if place.kind == "policy" else 0))

    def _judge_directory(place: Place) -> None:
        above = os.path.dirname(place.path)
        found = os.lstat(above) if place.kind == "policy" else os.stat(above)
        if not stat.S_ISDIR(found.st_mode):
            _refuse(above, "is not a directory", "put the file itself into a directory there")
        _judge_writers(place, above, found)

    def _judge(place: Place, fd: int) -> None:
        """Refuse anything but a regular file that only its owner can write.

        A POSIX access list shows in the mode: its mask is the mode's group part (acl(5)). An access
        list of macOS does not, and is not checked.
        """
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            _refuse(place.path, "is not a regular file", "remove it, or replace it with a file")
        _judge_writers(place, place.path, found)

    def _judge_writers(place: Place, path: str, found: os.stat_result) -> None:
        if found.st_uid not in place.owners:
            wanted = " or ".join(str(uid) for uid in sorted(place.owners))
            hint = "find out who made it, then chown it or move it away"
            _refuse(path, f"belongs to user {found.st_uid}, not to user {wanted}", hint)
        if found.st_mode & _OTHERS_WRITE:
            mode = stat.S_IMODE(found.st_mode)
            hint = f"check its content, then: chmod go-w {printable(path)}"
            _refuse(path, f"has mode {mode:04o}: others can write it", hint)

    def _refuse(path: str, what: str, hint: str) -> NoReturn:
        msg = f"{printable(path)} {what}, so it is not trusted"
        raise ConfigError(msg, f"{hint}; {ConfigError.hint}")

else:
    import ctypes
    from ctypes import wintypes

    # winnt.h and accctrl.h.
    _FILE_OBJECT, _OWNER = 1, 1
    _ADMINISTRATORS, _SYSTEM = 26, 22  # WinBuiltinAdministratorsSid, WinLocalSystemSid
    _advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _GetNamedSecurityInfoW = _advapi32.GetNamedSecurityInfoW
    _GetNamedSecurityInfoW.restype = wintypes.DWORD
    _GetNamedSecurityInfoW.argtypes = (
        wintypes.LPCWSTR,
        ctypes.c_int,
        wintypes.DWORD,
        *(ctypes.POINTER(ctypes.c_void_p),) * 5,
    )
    _IsWellKnownSid = _advapi32.IsWellKnownSid
    _IsWellKnownSid.restype = wintypes.BOOL
    _IsWellKnownSid.argtypes = (ctypes.c_void_p, ctypes.c_int)
    _LocalFree = _kernel32.LocalFree
    _LocalFree.argtypes = (ctypes.c_void_p,)

    def _open(place: Place) -> int:
        if stat.S_ISREG(os.lstat(place.path).st_mode) and not _is_link(place.path):
            return os.open(place.path, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
        msg = f"{printable(place.path)} is not a regular file, so it is not trusted"
        raise ConfigError(msg)

    def _judge_directory(place: Place) -> None:
        above = os.path.dirname(place.path)
        if place.kind == "policy":
            _judge_owner(above)

    def _judge(place: Place, fd: int) -> None:  # noqa: ARG001 - the other platform's
        """Refuse a policy that an ordinary user made.

        Any user can create a directory in ProgramData, and then owns it. The access list of a file
        that belongs to an administrator is not checked. The user's own file is below AppData, whose
        access list keeps others out.
        """
        if place.kind == "policy":
            _judge_owner(place.path)

    def _is_link(path: str) -> bool:
        attributes = os.lstat(path).st_file_attributes
        return bool(attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)

    def _judge_owner(path: str) -> None:
        owner, descriptor = ctypes.c_void_p(), ctypes.c_void_p()
        none = ctypes.POINTER(ctypes.c_void_p)()
        code = _GetNamedSecurityInfoW(
            path,
            _FILE_OBJECT,
            _OWNER,
            ctypes.byref(owner),
            none,
            none,
            none,
            ctypes.byref(descriptor),
        )
        if code:
            raise ctypes.WinError(code)
        try:
            trusted = any(_IsWellKnownSid(owner, kind) for kind in (_ADMINISTRATORS, _SYSTEM))
        finally:
            _LocalFree(descriptor)
        if _is_link(path) or not trusted:
            msg = f"{printable(path)} does not belong to the administrators, so it is not trusted"
            raise ConfigError(msg)
