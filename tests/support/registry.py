"""A container registry on loopback that really checks passwords: Debian's `docker-registry`.

It needs the programs `docker-registry` and `htpasswd`, and listens on 127.0.0.1 only. It speaks
HTTP, which clients accept on loopback.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

from support.requirements import require
from support.waiting import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 20
_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}/data}}}}
http: {{addr: 127.0.0.1:{port}}}
auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}
"""


def require_registry() -> None:
    """Skip the test without the programs, or fail it where they are required."""
    for program in ("docker-registry", "htpasswd"):
        require(shutil.which(program), "docker-registry", f"{program} is not on PATH")


class Registry:
    """One registry with one account. Use it in a `with` block.

    Args:
        root: An empty directory for its files.
        username: The account's name.
        password: The account's password.
    """

    def __init__(self, root: Path, username: str, password: str) -> None:
        root.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        self.host = f"127.0.0.1:{port}"
        """What clients are told to log in to."""
        self._log = root / "log"
        self._config = root / "config.yml"
        self._config.write_text(_CONFIG.format(root=root, port=port), encoding="utf-8")
        hashed = subprocess.run(
            ["htpasswd", "-niB", username],
            input=password,
            capture_output=True,
            text=True,
            check=True,
            timeout=WAIT_SECONDS,
        )
        (root / "htpasswd").write_text(hashed.stdout, encoding="utf-8")

    def __enter__(self) -> Self:
        """Start the registry and return when it answers."""
        # It takes every REGISTRY_* variable as configuration, even podman's REGISTRY_AUTH_FILE.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self._config)],
                stdout=log,
                stderr=log,
                env=environment,
            )
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                msg = f"the registry does not answer: {self._log.read_text('utf-8')[-500:]}"
                raise RuntimeError(msg)
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the registry."""
        self._process.terminate()
        self._process.wait(_SECONDS)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.host, timeout=1)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == http.HTTPStatus.UNAUTHORIZED
        except OSError:
            return False
        finally:
            connection.close()
