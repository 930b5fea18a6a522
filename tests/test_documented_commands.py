"""Every command in the documents is run here and prints the documented output.

Each document gets a fresh home, a git server on loopback that stands for `https://git.example`, a
private Secret Service and a terminal that the test controls; its blocks run from top to bottom.
`ELSEWHERE` lists what is not run, with the reason. tests/test_help_is_documented.py tests the help
in docs/cli.md, and tests/test_audit_document.py the scripts of docs/audit.md.
"""

import re
import sys
from pathlib import Path

import pytest
from support.git_server import GitServer, find_git
from support.requirements import require

if sys.platform == "win32":
    pytest.skip("the standard library has no pseudo-terminal here", allow_module_level=True)

from support.pseudo_terminal import PseudoTerminal

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# These need more than a fresh home, so tests of their own run their blocks.
OF_THEIR_OWN = {
    "configuration.md": "tests/test_configuration_document.py puts the files there first",
    "embedding.md": "tests/integration/test_embedding.py installs the example programs",
}
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
    if path.name not in OF_THEIR_OWN and BLOCK.search(path.read_text(encoding="utf-8"))
)
SHOWN_HOST = "https://git.example"
PASSWORD = "correct horse battery staple"
CTRL_C = b"\x03"
# The answers to questions, by their first words. In the documents git asks only after a revocation,
# where the reader is not meant to go on.
ANSWERS = {"Password for": PASSWORD.encode() + b"\n", "Username for": CTRL_C}
ELSEWHERE = {
    r"make (\w+ ?)+": "make runs these tests; another test checks that the verbs exist",
    r"PYTHON=\S+ make test": "the same",
    r"pipx install keylease": "a released keylease comes from the network",
    r"keylease status --watch": "it ends with Ctrl-C; tests/unit/cli/test_watch.py plays it",
    r"keylease ([a-z]+ )*--help": "test_help_is_documented.py compares it word for word",
}
# git's progress lines depend on the machine, and no document shows them.
PROGRESS = re.compile(r"remote: |(Receiving|Resolving|Unpacking|Counting) ")


def steps(text):
    """Return each command of a document with the output that it shows."""
    found = []
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:].partition(" # ")[0].rstrip(), []))
            else:
                found[-1][1].append(line)
    return found


def elsewhere(command):
    """Return whether a command is not run here."""
    return any(re.fullmatch(pattern, command) for pattern in ELSEWHERE)


def comparable(lines):
    """Return lines without what differs between runs: seconds, columns, git's progress."""
    kept = [line.rstrip() for line in lines if not PROGRESS.match(line)]
    text = "\n".join(re.sub(" {2,}", "  ", line) for line in kept).strip()
    return re.sub(r"\b14 min \d+ s\b", "14 min .. s", text)


class Reader:
    """A user who types a document's commands in a fresh home."""

    def __init__(self, home, server):
        self._home = home
        self._host = f"http://{server.host}"

    def type(self, command, lines=()):
        """Type a command, answer its questions, and return the screen's text and the exit code."""
        questions = [begin for line in lines for begin in ANSWERS if line.startswith(begin)]
        if not questions and command.startswith("keylease login") and "-stdin" not in command:
            questions = ["Password for"]
        typed = command.replace(SHOWN_HOST, self._host)
        # git may prompt only where the document says so; elsewhere it fails at once.
        environment = self._home.environment | {"GIT_TERMINAL_PROMPT": str(len(questions))}
        with PseudoTerminal() as terminal:
            # Run in the home, with all output on the screen, as git's questions are there too.
            script = f'cd "$HOME"; exec >/dev/tty 2>&1; {typed}'
            process = terminal.start(["sh", "-c", script], environment)
            for question in questions:
                terminal.wait_for(question)
                terminal.type(ANSWERS[question])
            code, _, _ = terminal.finish(process)
            screen = terminal.shown.decode().replace("\r\n", "\n").replace("^C", "")
        # The directory into which pipx installs programs.
        programs = Path(self._home.find("git-credential-keylease") or "/").parent
        screen = screen.replace(str(programs), "/home/ada/.local/bin")
        screen = screen.replace(self._host, SHOWN_HOST).replace(str(self._home.home), "/home/ada")
        return screen.splitlines(), code

    def differences(self, text):
        """Type every command of a document and return each difference from its text."""
        found = []
        for command, lines in steps(text):
            if elsewhere(command):
                continue
            said, code = self.type(command, lines)
            interrupted = any(line.startswith("Username for") for line in lines)
            if code != 0 and not interrupted:
                found.append((command, f"exit code {code}", said))
            elif lines and comparable(lines) != comparable(said):
                found.append((command, lines, said))
        return found


@pytest.fixture
def reader(desktop, tmp_path):
    """Return a user at a desktop, with a server that accepts ada."""
    require(find_git(), "git-http", "no git here can serve HTTP")
    home = desktop.home
    for program in ("keylease", "git-credential-keylease"):
        require(home.find(program), "installed", f"{program} is not installed beside Python")
    require(home.find("secret-tool"), "secret-tool", "it is not on PATH")
    (tmp_path / "served").mkdir()
    (home.home / "token").write_text(f"{PASSWORD}\n", encoding="utf-8")
    with GitServer(tmp_path / "served") as server:
        server.add_repository("project.git", {"README": "read me\n"})
        server.allow("ada", PASSWORD)
        yield Reader(home, server)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_do_what_is_shown(reader, path):
    """Every documented command prints what the document shows."""
    text = path.read_text(encoding="utf-8")
    if "$ keylease logout --all" in text:
        # A second session, which is left after the document ends its own.
        reader.type(f"keylease login {SHOWN_HOST}:8443 --username bob --password-stdin < token")

    assert [] == reader.differences(text)


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ keylease logout --all\nended 2 sessions\n```\n",
        "```console\n$ keylease sattus\n```\n",
        "```console\n$ keylease setup git\nnothing to change\n```\n",
        "```console\n$ git clone https://git.example/project.git\n```\n",
    ],
)
def test_a_document_that_is_wrong_is_found(reader, text):
    """The check finds a document that is wrong."""
    assert 1 == len(reader.differences(text))


def test_verbs_of_make_exist():
    """Every verb of make in the documents exists."""
    commands = [
        command for path in DOCUMENTS for command, _ in steps(path.read_text(encoding="utf-8"))
    ]
    shown = {
        verb
        for command in commands
        if "make " in command
        for verb in command.partition("make ")[2].split()
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()

    assert {"demo", "test"} <= shown <= set(phony)
