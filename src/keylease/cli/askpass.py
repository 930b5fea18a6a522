"""`keylease askpass`: answer the question that git, ssh or sudo would ask the user.

A server must not choose the session that answers. git's question contains the URL that git will
send the answer to; the whole question must match, never a part that looks like a URL. For any other
question the user names the session in the environment, and the question must ask for that kind of
secret.
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
from keylease.session.select import Asked

if TYPE_CHECKING:
    from keylease.cli.address import Address

# credential_ask_one in git's credential.c: "%s for '%s': ". A quote in the URL is not escaped, so
# the URL ends at the last quote.
_GIT: Final = re.compile(r"(Username|Password) for '([^'\s]+://\S*)': ?")
# getFromProgram of git-lfs (creds/creds.go): "%s for %q". Go writes no quote into a URL.
_LFS: Final = re.compile(r'(Username|Password) for "([^"\\\s]+://[^"\\\s]*)"')
# readpass.c, sshconnect2.c and ssh-keygen.c of OpenSSH. Since 8.4 a server's question begins with
# "(USER@HOST) ", so it cannot imitate a question about a key.
_PASSPHRASE: Final = re.compile(r"\AEnter\b.*\bpassphrase\b")
# ssh-add.c: asked after a wrong answer, and repeated after each further answer.
_REFUSED: Final = re.compile(r"\ABad\b.*\bpassphrase\b")
_PASSWORD: Final = re.compile(r"\bpassword\b", re.IGNORECASE)
VARIABLES: Final = (
    (_PASSPHRASE, "KEYLEASE_ASKPASS_KEY"),
    (_PASSWORD, "KEYLEASE_ASKPASS"),
)
"""The kinds of question without a URL, and the variable that names the session for each."""
# ssh(1), SSH_ASKPASS_PROMPT: a yes-or-no question, or a notice without an answer.
_NO_SECRET: Final = frozenset({"confirm", "none"})


@click.command(cls=Command)
@click.argument("question")
@click.pass_obj
def askpass(program: Program, question: str) -> None:
    """Answer QUESTION of git, ssh or sudo from a session.

    These tools start a program with their question as its only argument. keylease-askpass is that
    program and does the same as this command:

    \b
        GIT_ASKPASS=keylease-askpass
        SSH_ASKPASS=keylease-askpass  SSH_ASKPASS_REQUIRE=force
        SUDO_ASKPASS=/path/to/keylease-askpass

    git's question contains the URL: Password for 'https://ada@git.example'. Other questions do
    not, so the environment names the URL of the session. KEYLEASE_ASKPASS names it for every
    question with the word password. KEYLEASE_ASKPASS_KEY names it for a question that begins like
    Enter passphrase: it is about a key on this machine, and the answer goes to no server. Every
    other question, such as yes or no, is refused.

    A program asks again if its password was refused. The same process gets the same password for
    the same question once a minute; if it asks sooner, the exit code is 1.

    A password is a use of the session and one line in the audit log; a user name is not. Nothing is
    written to a terminal.
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
        reply = session.release(Asked(*wanted), asker=wiring.asker(question, meaning))
    secret = reply.credential.secret
    try:
        if not BREAKING.isdisjoint(secret.reveal()):
            msg = "the password contains a line break or NUL, and the tool would cut it there"
            raise RequestError(msg, "the release is in the audit log")
        with address.exact_hint(wanted):
            handout.write(secret.reveal(), b"\n", gate=reply.gate)
    finally:
        reply.wipe()


def _meaning(question: str) -> tuple[str, Address, str]:
    """Return the field, the session's address, and the text that identifies the question.

    Raises:
        AskedAgainError: the question says that the last answer was wrong.
        UsageError: the question asks for no secret, or names no session.
    """
    asked = _GIT.fullmatch(question) or _LFS.fullmatch(question)
    if asked is not None:
        field = handout.USERNAME if asked[1] == "Username" else handout.PASSWORD
        # git-lfs asks for the same URL twice, itself and through git, with different words.
        return field, address.read(asked[2]), asked[2]
    if os.environ.get("SSH_ASKPASS_PROMPT") in _NO_SECRET:
        msg = "ssh asks a yes-or-no question, which keylease does not answer"
        raise UsageError(msg, "answer it yourself")
    if _REFUSED.search(question):
        msg = "the question says that the last passphrase was wrong"
        raise AskedAgainError(msg)
    for pattern, variable in VARIABLES:
        if pattern.search(question):
            url = os.environ.get(variable)
            if not url:
                msg = f"the question names no URL, and {variable} is not set"
                raise UsageError(msg, f"name the session: {variable}=https://USER@HOST")
            return handout.PASSWORD, address.read(url), question
    msg = "the question does not ask for a password"
    raise UsageError(msg, "expected a question of git, ssh or sudo; see: keylease askpass --help")
