"""Good, broken and lying backends of the keyring library.

Tests name them `support.backends.CLASS`, as a user names a backend.
"""

# ruff: noqa: ARG002 - the library calls every backend with the same arguments

from __future__ import annotations

import threading
from typing import Any, ClassVar

from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as FailKeyring
from keyring.backends.null import Keyring as NullKeyring
from support.waiting import WAIT_SECONDS


class Dictionary(KeyringBackend):
    """A backend that stores values until the process ends."""

    priority: ClassVar[float] = 5
    shelf = "main"
    kept: ClassVar[dict[tuple[str, str, str], str]] = {}

    def get_password(self, service, username):
        """Return the stored value, or `None`."""
        return self.kept.get((self.shelf, service, username))

    def set_password(self, service, username, password):
        """Store the value and replace the old one."""
        self.kept[self.shelf, service, username] = password

    def delete_password(self, service, username):
        """Delete the value."""
        del self.kept[self.shelf, service, username]


class Hanging(Dictionary):
    """A backend that asks a question on a screen without a user."""

    def get_password(self, service, username):
        """Never return."""
        threading.Event().wait(WAIT_SECONDS)


class Raising(Dictionary):
    """A backend that raises a chosen error."""

    error: ClassVar[BaseException] = RuntimeError()

    def get_password(self, service, username):
        """Raise."""
        raise self.error

    set_password = delete_password = get_password


class Full(Dictionary):
    """A backend that can read but not store."""

    def set_password(self, service, username, password):
        """Fail and repeat the value in the error, as some backends do."""
        msg = f"no room for {password}"
        raise OSError(msg)


class Forgetful(Dictionary):
    """A backend that accepts a value but does not store it."""

    def set_password(self, service, username, password):
        """Do nothing."""


class Changing(Dictionary):
    """A backend that stores another value than it is given."""

    def set_password(self, service, username, password):
        """Store half of the value."""
        super().set_password(service, username, password[::-1])


class Keeping(Dictionary):
    """A backend that reports a deletion but does not delete."""

    def delete_password(self, service, username):
        """Do nothing."""


class Undeletable(Dictionary):
    """A backend without deletion, which the library allows."""

    delete_password = KeyringBackend.delete_password


class Vanishing(Dictionary):
    """A backend whose item another program deletes just before we do."""

    def delete_password(self, service, username):
        """Delete twice."""
        super().delete_password(service, username)
        super().delete_password(service, username)


class Answering(Dictionary):
    """A backend that always gives a chosen answer."""

    answer: ClassVar[Any] = None

    def get_password(self, service, username):
        """Return the answer."""
        return self.answer


class Discouraged(Dictionary):
    """A backend that its own author does not recommend."""

    priority = 0.5


class Elsewhere(Dictionary):
    """A backend for another kind of machine."""

    class _Priority:
        def __get__(self, instance, owner):
            msg = "this is not a mainframe"
            raise RuntimeError(msg)

    priority = _Priority()


class Abstract(KeyringBackend):
    """A backend without the required methods."""

    priority = 5


class Null(NullKeyring):
    """The library's null backend under another name."""

    priority = 5


class Fail(FailKeyring):
    """The library's fail backend under another name."""

    priority = 5


class NoBackend:
    """A class with the right methods that is no backend."""

    priority = 5
    get_password = set_password = delete_password = Dictionary.get_password


a_function = Dictionary.get_password
