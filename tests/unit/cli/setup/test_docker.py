"""`keylease setup docker`: one entry of a file that is docker's own."""

import base64
import json
import stat
import sys

import pytest

from keylease.wiring import Wiring

AUTH = base64.b64encode(b"bob:hunter2").decode("ascii")
THEIRS = {"psFormat": "x", "credsStore": "desktop", "credHelpers": {"gcr.io": "gcloud"}}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Return where docker's configuration is."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("DOCKER_AUTH_CONFIG", raising=False)
    return tmp_path / "docker" / "config.json"


def write(config, document):
    """Write docker's configuration as docker does."""
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(document, indent="\t"), encoding="utf-8")
    config.chmod(0o600)


def read(config):
    """Return docker's configuration."""
    return json.loads(config.read_text(encoding="utf-8"))


def test_a_docker_without_configuration_gets_one(console, config):
    """It is private, and has one entry; to do it again changes nothing."""
    said = console.run("setup", "docker")

    assert (0, f"changed {config}:\n  + credsStore: keylease\n", "") == said
    assert {"credsStore": "keylease"} == read(config)
    assert (0, "nothing to change\n", "") == console.run("setup", "docker")
    if sys.platform != "win32":
        assert 0o600 == stat.S_IMODE(config.stat().st_mode)


def test_what_is_not_ours_stays_and_comes_back(console, config):
    """Every other entry stays as it is, and --undo leaves the file as it was."""
    write(config, THEIRS)
    console.run("setup", "docker")
    assert THEIRS | {"credsStore": "keylease"} == read(config)
    console.run("setup", "docker")

    said = console.run("setup", "docker", "--undo")

    assert [f"changed {config}:", "  - credsStore: keylease", "  + credsStore: desktop"] == (
        said.out.splitlines()
    )
    assert THEIRS == read(config)
    assert (0, "nothing to undo\n", "") == console.run("setup", "docker", "--undo")


def test_undo_takes_nothing_that_another_wrote(console, config):
    """A helper that was named since stays."""
    write(config, THEIRS)
    console.run("setup", "docker")
    write(config, THEIRS | {"credsStore": "pass"})

    console.run("setup", "docker", "--undo")

    assert "pass" == read(config)["credsStore"]


def test_one_registry_can_be_given(console, config):
    """Only its logins are kept, and --undo brings its helper back."""
    write(config, THEIRS)
    console.run("setup", "docker", "gcr.io", "registry.example:5000")
    helpers = {"gcr.io": "keylease", "registry.example:5000": "keylease"}
    assert THEIRS | {"credHelpers": helpers} == read(config)

    console.run("setup", "docker", "--undo")

    assert THEIRS == read(config)


def test_dry_run_changes_nothing(console, config):
    """It shows what would be done, and does nothing of it."""
    write(config, {"auths": {"old.example": {"auth": AUTH}}})
    before = config.read_bytes()

    said = console.run("setup", "docker", "--dry-run", "--move")

    assert before == config.read_bytes()
    assert not console.state.exists()
    assert [
        f"would change {config}:",
        "  + credsStore: keylease",
        "  - auths: old.example: the login",
        "would move the login to old.example to a session",
    ] == said.out.splitlines()


def test_plaintext_is_told_and_moved_only_when_asked(console, config):
    """Without --move it stays and is warned of; with it a session has it and the file does not."""
    token = {"identitytoken": "hunter3", "auth": base64.b64encode(b"t:").decode("ascii")}
    hub = "https://index.docker.io/v1/"
    write(config, {"auths": {"old.example": {"auth": AUTH, "email": "x"}, hub: token, "e": {}}})
    said = console.run("setup", "docker")
    assert "holds logins in plaintext" in said.err
    assert AUTH.encode() in config.read_bytes(), "the control: it is found where it is"

    said = console.run("setup", "docker", "--move")

    assert (0, "") == (said.code, said.err)
    for secret in (AUTH, "hunter2", "hunter3"):
        assert secret.encode() not in config.read_bytes()
        assert secret not in said.out
    assert {"old.example": {"email": "x"}, hub: {}, "e": {}} == read(config)["auths"]
    held = {each.username: each.target.host for each, _ in Wiring().session.sessions()}
    assert {"bob": "old.example", "<token>": "index.docker.io"} == held


def test_a_login_that_cannot_be_moved_stays(console, config):
    """When no session can be started the file is as it was."""
    write(config, {"auths": {"old.example": {"auth": AUTH}}})
    before = config.read_bytes()
    console.keystore.lock()

    said = console.run("setup", "docker", "--move")

    assert 4 == said.code
    assert before == config.read_bytes()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"auths":[]}', '{"credHelpers":1}', "[" * 100_000, '"hunter2']
)
def test_a_file_that_is_not_dockers_is_left_alone(console, config, text):
    """An invalid file is neither changed nor repeated."""
    config.parent.mkdir()
    config.write_text(text, encoding="utf-8")

    said = console.run("setup", "docker")

    assert 1 == said.code
    assert "hunter2" not in said.err
    assert text == config.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_is_followed(console, config, tmp_path):
    """Dotfiles that are kept elsewhere stay there."""
    kept = tmp_path / "dotfiles.json"
    kept.write_text("{}", encoding="utf-8")
    kept.chmod(0o640)
    config.parent.mkdir()
    config.symlink_to(kept)

    console.run("setup", "docker")

    assert config.is_symlink()
    assert {"credsStore": "keylease"} == read(kept)
    assert 0o640 == stat.S_IMODE(kept.stat().st_mode)
    assert ["docker", "dotfiles.json"] == sorted(
        each.name for each in tmp_path.iterdir() if each.name.startswith("do")
    )


@pytest.mark.usefixtures("config")
def test_a_variable_that_stands_in_the_way_is_told(console, monkeypatch):
    """docker would never ask, and the user would wonder."""
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{}")

    assert "DOCKER_AUTH_CONFIG is set" in console.run("setup", "docker").err


def test_undo_stands_alone(console, config):
    """`--undo` takes back everything, so other arguments are refused."""
    assert 2 == console.run("setup", "docker", "--undo", "--move").code
    assert 2 == console.run("setup", "docker", "not a registry").code
    assert not config.exists()
