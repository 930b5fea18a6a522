"""Backends of the keyring library, as others write them: good ones, broken ones and false ones.

They are named to the store as `support.backends.CLASS`, the way a user names one.
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
    """A backend that keeps what it is given, for as long as the process lasts."""

    priority: ClassVar[float] = 5
    shelf = "main"
    kept: ClassVar[dict[tuple[str, str, str], str]] = {}

    def get_password(self, service, username):
        """Return what was set, or `None`."""
        return self.kept.get((self.shelf, service, username))

    def set_password(self, service, username, password):
        """Keep it, in the place of what was there."""
        self.kept[self.shelf, service, username] = password

    def delete_password(self, service, username):
        """Forget it."""
        del self.kept[self.shelf, service, username]


class Hanging(Dictionary):
    """A backend that asks a question on a screen that nobody looks at."""

    def get_password(self, service, username):
        """Never return."""
        threading.Event().wait(WAIT_SECONDS)


class Raising(Dictionary):
    """A backend that raises what it is told to."""

    error: ClassVar[BaseException] = RuntimeError()

    def get_password(self, service, username):
        """Raise."""
        raise self.error

    set_password = delete_password = get_password


class Full(Dictionary):
    """A backend that reads and does not take anything more."""

    def set_password(self, service, username, password):
        """Fail, and repeat what was given, as some do."""
        msg = f"no room for {password}"
        raise OSError(msg)


class Forgetful(Dictionary):
    """A backend that takes a value and does not keep it."""

    def set_password(self, service, username, password):
        """Do nothing."""


class Changing(Dictionary):
    """A backend that keeps another value than it was given."""

    def set_password(self, service, username, password):
        """Keep half of it."""
        super().set_password(service, username, password[::-1])


class Keeping(Dictionary):
    """A backend that says that it has deleted, and has not."""

    def delete_password(self, service, username):
        """Do nothing."""


class Undeletable(Dictionary):
    """A backend without deletion, which the library allows."""

    delete_password = KeyringBackend.delete_password


class Vanishing(Dictionary):
    """A backend whose item somebody else deletes a moment before it is deleted here."""

    def delete_password(self, service, username):
        """Delete twice."""
        super().delete_password(service, username)
        super().delete_password(service, username)


class Answering(Dictionary):
    """A backend that answers what it is told to, whatever it is asked."""

    answer: ClassVar[Any] = None

    def get_password(self, service, username):
        """Return it."""
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
    """A backend that is not finished."""

    priority = 5


class Null(NullKeyring):
    """The library's null backend under another name."""

    priority = 5


class Fail(FailKeyring):
    """The library's fail backend under another name."""

    priority = 5


class NoBackend:
    """Something else that has the right methods."""

    priority = 5
    get_password = set_password = delete_password = Dictionary.get_password


a_function = Dictionary.get_password
