"""`keylease askpass`: answer the question that git, ssh or sudo would ask a person.

Which session answers is decided by nothing that a server can say. In the question of git stands the
URL that git itself is about to send the answer to, and the whole of it is taken, never a part that
looks like a URL. Any other question is answered from what its user has named in the environment,
and only if it asks for that kind of secret.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import click

from keylease.cli import address, handout
from keylease.cli.base import Command, Program
from keylease.errors import AskedAgainError, KeyleaseError, RequestError, UsageError
from keylease.protocols.git import BREAKING

if TYPE_CHECKING:
    from keylease.cli.address import Address

# credential_ask_one in git's credential.c: "%s for '%s': ". A quote in the URL is not escaped, so
# only the last one ends it.
_GIT: Final = re.compile(r"(Username|Password) for '([^'\s]+://\S*)': ?")
# getFromProgram of git-lfs (creds/creds.go): "%s for %q". A URL as Go writes one has no quote.
_LFS: Final = re.compile(r'(Username|Password) for "([^"\\\s]+://[^"\\\s]*)"')
# readpass.c, sshconnect2.c and ssh-keygen.c of OpenSSH. What a server asks stands behind
# "(USER@HOST) " since 8.4, so it cannot pass itself off for a question about a key.
_PASSPHRASE: Final = re.compile(r"\AEnter\b.*\bpassphrase\b")
# ssh-add.c: asked after an answer that did not open the key, and again for as long as there is one.
_REFUSED: Final = re.compile(r"\ABad\b.*\bpassphrase\b")
_PASSWORD: Final = re.compile(r"\bpassword\b", re.IGNORECASE)
VARIABLES: Final = (
    (_PASSPHRASE, "KEYLEASE_ASKPASS_KEY"),
    (_PASSWORD, "KEYLEASE_ASKPASS"),
)
"""The kinds of question without a URL, and who names the session for each."""
# ssh(1), SSH_ASKPASS_PROMPT: a question for yes or no, or a notice without an answer.
_NO_SECRET: Final = frozenset({"confirm", "none"})


@click.command(cls=Command)
@click.argument("question")
@click.pass_obj
def askpass(program: Program, question: str) -> None:
    """Answer QUESTION of git, ssh or sudo from a session.

    These tools start a program with their question as its only word. It is called keylease-askpass,
    and does the same:

    \b
        GIT_ASKPASS=keylease-askpass
        SSH_ASKPASS=keylease-askpass  SSH_ASKPASS_REQUIRE=force
        SUDO_ASKPASS=/path/to/keylease-askpass

    git's question has the URL in it: Password for 'https://ada@git.example'. Others do not, so the
    URL of the session comes from the environment. KEYLEASE_ASKPASS names it for every question
    with the word password. KEYLEASE_ASKPASS_KEY names it for a question that begins like
    Enter passphrase; those are about a key on this machine, and their answer goes to no server.
    Everything else, such as a question for yes or no, is refused.

    A program whose password was refused asks again. The same process gets the same password
    for the same question once a minute; after that the exit code is 1.

    A password counts as a use of the session, and is one line in the audit log; a user name does
    not. Nothing is written to a terminal.
    """  # noqa: D301 - click reads the backslash-b, and prints the lines after it as they are
    field, wanted, meaning = _meaning(question)
    handout.refuse_terminal("nothing was released; see: keylease read --help")
    wiring = program.wiring()
    session = wiring.session
    if field == handout.USERNAME:
        with address.exact_hint(wanted):
            found, _ = session.validate(*wanted)
        if found.username is None:
            msg = f"the session for {wanted} has no user name"
            raise KeyleaseError(msg)
        handout.write(found.username.encode("utf-8", "surrogateescape"), b"\n")
        return
    with address.exact_hint(wanted):
        reply = session.release(*wanted, asker=wiring.asker(question, meaning))
    secret = reply.credential.secret
    try:
        if not BREAKING.isdisjoint(secret.reveal()):
            msg = "the password has a line break or NUL inside, and would be cut there"
            raise RequestError(msg, "the release is in the audit log")
        with address.exact_hint(wanted):
            handout.write(secret.reveal(), b"\n", gate=reply.gate)
    finally:
        reply.wipe()


def _meaning(question: str) -> tuple[str, Address, str]:
    """Return what is asked for, of which session, and what tells the question from others.

    Raises:
        AskedAgainError: the question says that the last answer was wrong.
        UsageError: that cannot be known, or is no question for a secret.
    """
    asked = _GIT.fullmatch(question) or _LFS.fullmatch(question)
    if asked is not None:
        field = handout.USERNAME if asked[1] == "Username" else handout.PASSWORD
        # git-lfs asks twice for the same, once by itself and once by git, in other words.
        return field, address.read(asked[2]), asked[2]
    if os.environ.get("SSH_ASKPASS_PROMPT") in _NO_SECRET:
        msg = "ssh asks for yes or no, and no session is an answer to that"
        raise UsageError(msg, "answer it yourself")
    if _REFUSED.search(question):
        msg = "the question says that the passphrase before it was wrong"
        raise AskedAgainError(msg)
    for pattern, variable in VARIABLES:
        if pattern.search(question):
            url = os.environ.get(variable)
            if not url:
                msg = f"the question names no URL, and {variable} is not set"
                raise UsageError(msg, f"name the session: {variable}=https://USER@HOST")
            return handout.PASSWORD, address.read(url), question
    msg = "the question asks for no password"
    raise UsageError(msg, "expected one of git, ssh or sudo; see: keylease askpass --help")
