"""A keyring backend that prints to stdout, where a helper's answer goes, and to stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from keyring.backend import KeyringBackend


class Noisy(KeyringBackend):
    """Secrets in a file of the throwaway home, with output at every call."""

    priority = 5

    def get_password(self, service, username):
        """Print, and return the secret."""
        self._make_noise()
        return self._secrets().get(f"{service} {username}")

    def set_password(self, service, username, password):
        """Print, and store the secret."""
        self._make_noise()
        secrets = {**self._secrets(), f"{service} {username}": password}
        self._file().write_text(json.dumps(secrets), "utf-8")

    def delete_password(self, service, username):
        """Print, and delete the secret."""
        self._make_noise()
        secrets = self._secrets()
        del secrets[f"{service} {username}"]
        self._file().write_text(json.dumps(secrets), "utf-8")

    @staticmethod
    def _make_noise():
        print("host=evil.example", flush=True)  # noqa: T201 - the purpose of this backend
        os.write(1, b"host=evil.example\n")
        print("noise", file=sys.stderr, flush=True)  # noqa: T201 - the same
        with (Path.home() / "noise").open("a", encoding="utf-8") as noise:
            noise.write("host=evil.example\n")

    @staticmethod
    def _file():
        return Path.home() / "secrets.json"

    def _secrets(self):
        return json.loads(self._file().read_text("utf-8")) if self._file().exists() else {}
