"""The check for plaintext credentials: each file is found, and its content is not shown."""

from __future__ import annotations

import sys

import pytest

from keylease.cli.doctor.base import Subject
from keylease.cli.doctor.plaintext import check
from keylease.cli.plaintext import MOST_BYTES
from keylease.tools import PLAINTEXT

CANARY = "hunter2canary"

HOLDING = {
    ".git-credentials": f"https://ada:{CANARY}@git.example\n",
    ".config/git/credentials": f"# a line before\nhttps://ada%40x:{CANARY}@git.example:8443\n",
    ".docker/config.json": f'{{"auths": {{"r.example": {{"auth": "{CANARY}"}}}}}}',
    ".config/containers/auth.json": f'{{"auths": {{"r.example": {{"auth": "{CANARY}"}}}}}}',
    ".config/pip/pip.conf": f"[global]\nindex-url = https://ada:{CANARY}@pypi.example/simple\n",
    ".pip/pip.conf": f"[global]\nextra-index-url=\n  https://__token__:{CANARY}@pypi.example/\n",
    ".config/pypoetry/auth.toml": f'[http-basic.x]\nusername = "ada"\npassword = "{CANARY}"\n',
    ".terraformrc": f'credentials "x.example" {{\n  token = "{CANARY}"\n}}\n',
    ".bazelrc": f'build --remote_header="Authorization=Bearer {CANARY}"\n',
    ".netrc": f"machine git.example login ada password {CANARY}\n",
    "_netrc": f"machine git.example\n  login ada\n  password {CANARY}\n",
    ".cargo/credentials.toml": f'[registry]\ntoken = "{CANARY}"\n',
    ".cargo/credentials": f"[registry]\ntoken='{CANARY}'\n",
    ".vault-token": CANARY,
    ".pypirc": f"[pypi]\nusername = ada\npassword: {CANARY}\n",
    ".npmrc": f"//registry.example/:_authToken={CANARY}\n",
    ".kube/config": f"users:\n- name: ada\n  user:\n    token: {CANARY}\n",
    ".aws/credentials": f"[default]\naws_secret_access_key = {CANARY}\n",
    ".terraform.d/credentials.tfrc.json": f'{{"credentials": {{"x": {{"token": "{CANARY}"}}}}}}',
}
HARMLESS = {
    ".git-credentials": "\n",
    ".docker/config.json": '{"auths": {"r.example": {}}, "credsStore": "pass"}',
    ".netrc": "machine git.example login ada\n",
    ".config/pip/pip.conf": "[global]\nindex-url = https://ada:${TOKEN}@pypi.example/simple\n",
    ".config/pypoetry/auth.toml": '[http-basic.x]\nusername = "ada"\npassword = ""\n',
    ".terraformrc": 'credentials_helper "keylease" {}\n# token = "x"\n',
    ".bazelrc": "# build --remote_header=Authorization=x\nbuild --remote_header=x-team=y\n",
    ".cargo/credentials.toml": "[registry]\n# token = here\n",
    ".vault-token": "",
    ".pypirc": "[pypi]\nusername = ada\n",
    ".npmrc": "//registry.example/:_authToken=${NPM_TOKEN}\nsave-exact=true\n",
    ".kube/config": "users:\n- name: ada\n  user:\n    exec:\n      command: tool\n",
    ".aws/credentials": "[default]\ncredential_process = tool\n",
    ".terraform.d/credentials.tfrc.json": '{"credentials": {}}',
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return a home with nothing in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for place in PLAINTEXT:
        if place.location.variable:
            monkeypatch.delenv(place.location.variable, raising=False)
    return tmp_path


def write(home, name, text):
    """Write a file as a tool does."""
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def look():
    """Return what is found."""
    return list(check(Subject(None)))


def test_home_without_such_files_is_in_order(home):
    """One line says how many files were searched."""
    [finding] = look()

    assert "ok" == finding.verdict
    assert [] == list(home.iterdir())


@pytest.mark.parametrize("name", HOLDING)
def test_file_is_named_and_its_content_is_not(home, name):
    """The person knows which file and what to do; the screen shows no secret."""
    path = write(home, name, HOLDING[name])

    [finding] = look()

    assert "warn" == finding.verdict
    assert str(path) in finding.found
    assert finding.remedy
    assert CANARY not in str(finding)


@pytest.mark.parametrize("name", HARMLESS)
def test_file_without_a_credential_is_in_order(home, name):
    """A tool that was set up well is not complained of."""
    write(home, name, HARMLESS[name])

    [finding] = look()

    assert "ok" == finding.verdict


def test_every_place_is_tested():
    """A place without an example might never find anything."""
    assert len([place for place in PLAINTEXT if place.location.base]) == len(HOLDING)


@pytest.mark.parametrize(
    ("variable", "name", "written"),
    [
        ("XDG_CONFIG_HOME", "git/credentials", ".config/git/credentials"),
        ("DOCKER_CONFIG", "config.json", ".docker/config.json"),
        ("CARGO_HOME", "credentials.toml", ".cargo/credentials.toml"),
        ("XDG_RUNTIME_DIR", "containers/auth.json", ".config/containers/auth.json"),
    ],
)
def test_directory_that_a_variable_names_is_looked_into(home, monkeypatch, variable, name, written):
    """A tool's own variable leads to its file."""
    monkeypatch.setenv(variable, str(home / "elsewhere"))
    path = write(home, f"elsewhere/{name}", HOLDING[written])

    [finding] = look()

    assert str(path) in finding.found


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_file_that_others_can_read_is_called_that(home):
    """A file that others can read is reported as such."""
    write(home, ".netrc", HOLDING[".netrc"]).chmod(0o644)

    [finding] = look()

    assert "others may read it" in finding.found


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs in directories")
def test_fifo_does_not_hang_it(home):
    """A pipe without a writer is no credential file, and doctor does not wait for it."""
    import os  # noqa: PLC0415 - has no mkfifo everywhere

    os.mkfifo(home / ".netrc")

    assert ["ok"] == [finding.verdict for finding in look()]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_file_that_cannot_be_opened_is_told(home):
    """A file that cannot be searched is a warning."""
    (home / ".netrc").symlink_to(".netrc")

    [finding] = look()

    assert "warn" == finding.verdict
    assert "cannot be searched" in finding.found


def test_huge_file_is_searched_only_so_far(home):
    """A file of any size costs a bounded time and memory."""
    write(home, ".vault-token", " " * MOST_BYTES + CANARY)

    assert ["ok"] == [finding.verdict for finding in look()]
