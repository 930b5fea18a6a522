"""Which session answers a service of the `keyring` library."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keylease.embed.keyring_lookup import answering, is_server, kept, may_be_server, meant
from keylease.model import Moment, Session, Target

NOW = Moment(0, 0, "0" * 32)


def session(url, username="ada", *, namespace="web", authtype=None):
    """Return a session for a URL of the form `scheme://host` or `scheme://host/path`."""
    protocol, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    target = Target(namespace, protocol, host, path if slash else None)
    return Session(url, target, username, authtype, None, 1, NOW, NOW, None, 900, 900)


INDEX = "https://pypi.example/simple"


@pytest.mark.parametrize(
    "service",
    [
        "https://pypi.example/simple",
        "https://pypi.example/simple/",
        "https://ada@pypi.example/simple/",
        "https://pypi.example/simple/flask/",
        "https://pypi.example",
        "https://pypi.example/",
        "pypi.example",
    ],
)
def test_session_of_an_index_answers_every_question_about_it(service):
    """pip, uv, twine and poetry ask in different ways, and all find the same session."""
    assert INDEX == answering([session(INDEX)], service, None).id


@pytest.mark.parametrize(
    "service",
    [
        "http://pypi.example/simple",
        "https://pypi.example:443/simple",
        "https://pypi.example.evil.example/simple",
        "https://evil.example/pypi.example/simple",
        "https://pypi.example@evil.example/simple",
        "https://pypi.example/simpler",
        "https://pypi.example/simple/../other",
        "https://pypi.example/simple/%2e%2e/other",
        "https://pypi.example/simple/%252e%252e/other",
        "https://pypi.example/other",
        "https://PYPI.example/simple",
        "https://evil.example?@pypi.example/simple",
        "https://evil.example#@pypi.example/simple",
        "https://evil.example\\@pypi.example/simple",
        "https://evil.example @pypi.example/simple",
        "https://pypi%2eexample/simple",
        "https://pypi.example\\simple",
        "https://bob@pypi.example/simple",
        "https://ada:pass@pypi.example/simple",
        "https://pypi.example/simple\nhost=pypi.example",
        "https://\ud800",
        "pypi.example:443",
        "pypi",
        "example",
        "",
    ],
)
def test_no_other_server_is_answered(service):
    """A password is released only for the scheme, host, port, path and user it was stored for."""
    assert answering([session(INDEX)], service, None) is None


def test_session_of_a_host_answers_for_all_of_it():
    """A login to the host alone answers for each of its indexes."""
    held = [session("https://pypi.example"), session("https://other.example")]

    assert "https://pypi.example" == answering(held, "https://pypi.example/a/simple/", None).id


def test_longest_path_wins_and_then_the_newest():
    """Two indexes of one host have separate passwords."""
    held = [
        session("https://h.example/a"),
        session("https://h.example/a/b"),
        session("https://h.example/a", "bob"),
        session("https://h.example"),
    ]

    def answer(service, username=None):
        found = answering(held, service, username)
        return found.id, found.username

    assert ("https://h.example/a/b", "ada") == answer("https://h.example/a/b/c")
    assert ("https://h.example/a", "bob") == answer("https://h.example/a/x")
    assert ("https://h.example/a", "ada") == answer("https://h.example/a/x", "ada")
    assert ("https://h.example", "ada") == answer("https://h.example/x")
    assert ("https://h.example", "ada") == answer("https://h.example")
    assert ("https://h.example/a", "bob") == answer("https://bob@h.example/a")


def test_user_has_to_be_the_one_who_is_asked_for():
    """A session of ada does not answer for bob, whichever user the URL names."""
    held = [session(INDEX)]

    assert answering(held, INDEX, "bob") is None
    assert answering(held, INDEX, "") is None
    assert INDEX == answering(held, "https://bob@pypi.example/simple", "ada").id


@pytest.mark.parametrize("change", [{"namespace": "docker"}, {"authtype": "Bearer"}])
def test_what_no_program_could_use_is_no_answer(change):
    """The library gets neither another tool's token nor an already encoded header."""
    assert answering([session(INDEX, **change)], INDEX, None) is None


def test_host_with_its_port_answers_for_either_scheme():
    """uv asks by host and port, without the scheme, and is answered."""
    held = [session("http://127.0.0.1:8080/simple")]

    assert held[0] is answering(held, "127.0.0.1:8080", "ada")


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("https://pypi.example/simple/", ("https", "pypi.example", "simple/")),
        ("http://127.0.0.1:8080", ("http", "127.0.0.1:8080", None)),
        ("pypi.example:8443", ("https", "pypi.example:8443", None)),
        ("[::1]:8443", ("https", "[::1]:8443", None)),
    ],
)
def test_password_of_a_server_becomes_a_session(service, expected):
    """A password set for a URL, or for a host and port, is stored for exactly that."""
    address = kept(service, "ada")

    assert expected[:2] == address.target[1:3]
    assert (expected[2] or "").strip("/") == (address.target.path or "").strip("/")
    assert "ada" == address.username


@pytest.mark.parametrize(
    "service",
    [
        "poetry-repository-internal",
        "org.example.App",
        "pypi.example",
        "Mercurial",
        "ssh://host.example",
        "uv:https://pypi.example",
        "https://bob@pypi.example",
        "https://ada:pass@pypi.example",
        "https://",
        "port:",
        "a b:80",
        "",
    ],
)
def test_other_passwords_are_not_kept(service):
    """A key that an application stores under its own name is left to the platform's keychain."""
    address = kept(service, "ada")

    assert address is None


def test_deletion_ends_what_lies_there_and_nothing_above():
    """`keyring del` for one package's page keeps the index; for the host it ends all below it."""
    held = [session("https://h.example"), session(INDEX), session(INDEX, "bob")]

    assert [] == meant(held, "https://pypi.example/simple/flask", "ada")
    assert [] == meant(held, "https://h.example/simple", "ada")
    assert [held[1]] == meant(held, "https://pypi.example/simple/", "ada")
    assert [held[2]] == meant(held, "https://pypi.example", "bob")
    assert [held[1]] == meant(held, "pypi.example", "ada")
    assert [] == meant(held, "pypi", "ada")


def test_words_that_are_no_server_are_known_before_anything_is_opened():
    """A program that asks for its own password does not wait for our keychain."""
    assert not any(map(may_be_server, ["python-poetry-check", "Mercurial", "gh:github.com x"]))
    assert all(map(may_be_server, ["pypi.example", "localhost", "[::1]", "a:1", "https://x"]))
    assert not any(map(is_server, ["pypi.example", "org.example.App", "localhost"]))


WORDS = st.sampled_from(["https://", "pypi.example", "@", ":", "/", "%", "#", "?", "[::1]", "\\"])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=8).map("".join), st.text(max_size=3)
)
def test_any_name_is_a_server_or_not_and_never_an_error(service, username):
    """No name of a password causes an error."""
    held = [session(INDEX), session("http://[::1]:80")]
    found = answering(held, service, username or None)

    assert found is None or found.target.host in service
    if found and "://" in service:
        assert urlsplit(service).netloc.rpartition("@")[2] == found.target.host
    assert meant(held, service, username) in ([], [held[0]], [held[1]])
    address = kept(service, username)
    assert address is None or address.target.protocol in {"http", "https"}
    assert is_server(service) <= may_be_server(service)
