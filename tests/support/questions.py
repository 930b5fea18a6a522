"""One question for each program that a tool runs, and the login before it.

The tests of all programs are written over this table. A new program gets its line here.
"""

from __future__ import annotations

from typing import NamedTuple

URL = "https://example.com"
CARGO = '{"v":1,"registry":{"index-url":"https://example.com"},"kind":"get"}\n'
BASIC = "Basic YWRhOnNlY3JldA=="
"""ada:secret, as a header of HTTP says it."""
GIT_LOGIN = (URL, "--username", "ada")


class Question(NamedTuple):
    """What a program is asked."""

    login: tuple[str, ...]
    """The words after `keylease login`; the password is the word secret."""
    words: tuple[str, ...]
    message: str
    answer: str
    """A part of the right answer: the secret, as this tool gets it."""


QUESTIONS = {
    "git-credential-keylease": Question(
        GIT_LOGIN, ("get",), "protocol=https\nhost=example.com\n\n", "password=secret"
    ),
    "docker-credential-keylease": Question(
        ("--tool", "docker", "example.com", "--username", "ada"),
        ("get",),
        "example.com",
        '"Secret":"secret"',
    ),
    "cargo-credential-keylease": Question(
        ("--tool", "cargo", URL), ("--cargo-plugin",), CARGO, '"token":"secret"'
    ),
    "keylease-aws": Question(
        ("--tool", "aws", "example", "--username", "ada"),
        ("example",),
        "",
        '"SecretAccessKey":"secret"',
    ),
    "keylease-kubernetes": Question(("--tool", "kubernetes", URL), (URL,), "", '"token":"secret"'),
    "terraform-credentials-keylease": Question(
        ("--tool", "terraform", "example.com"), ("get", "example.com"), "", '"token":"secret"'
    ),
    "keylease-vault": Question(
        ("--tool", "vault", "https://127.0.0.1:8200"), ("get",), "", "secret"
    ),
    "keylease-goauth": Question(GIT_LOGIN, (f"{URL}/x",), "", BASIC),
    "keylease-pnpm": Question(("--tool", "pnpm", URL), (URL,), "", "secret"),
    "keylease-bazel": Question(GIT_LOGIN, ("get",), '{"uri":"https://example.com/x"}', BASIC),
}
