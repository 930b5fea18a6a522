"""Which module may import which: only lower layers, and each third party in one place."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(importlib.util.find_spec("keylease").origin).parent  # type: ignore[union-attr,arg-type]

# From the top down: a folder imports only from lower lines, not from its own line. A module outside
# a folder counts as one. Each line says why it is there.
LAYERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("testing", "__main__"), "the entrances of embedders' tests and of `keylease` itself"),
    (("helper", "cli", "embed"), "the ways in: tools, people, other people's programs"),
    (("exchange",), "one message of a tool, one answer; the same for every entrance"),
    (("wiring",), "the one module that names concrete classes; nothing below it does"),
    (("session",), "the rules decide; stores, keys and the log are its arguments"),
    (("store",), "sealed files; it knows no keychain and no rule"),
    (("vault",), "the keys of the vault; it knows no session"),
    (("audit",), "the log records what the layers above decide"),
    (("config",), "reads what is configured of keychains and protocols, so above both"),
    (("protocols", "keystores", "shares"), "families: one foreign thing a module"),
    (("statefile",), "private files; no format and no key"),
    (("system",), "clock, paths, terminal, streams, renames, kernel keyring"),
    (("secrets",), "memory that is locked and wiped; below everything that holds a secret"),
    (("rules",), "pure functions of a session and one clock reading"),
    (("model",), "the values that travel between the layers"),
    (("origin",), "the spelling of a host, for rules, configuration and reports"),
    (("faults",), "the border that turns a foreign exception into one of ours"),
    (("errors", "programs"), "the words of refusal, and how a program starts"),
    (("tools",), "facts about each tool, as data; every helper reads it before anything else"),
)
# Families: no module imports a sibling, except the modules that the family shares.
FAMILIES = {
    "protocols": {"base", "http"},
    "keystores": {"base", "unavailable"},
    "shares": {"base"},
}
# The one module of a family that builds on another's protocol.
SPEAKS = {"protocols.address": "protocols.git"}
# Walls inside a folder: the left side imports nothing of the right side.
WALLS = {
    "audit": ("audit.read", "audit.report", "audit.export"),
    "audit.read": ("audit.report", "audit.export"),
    "audit.report": ("audit.export",),
    "audit.export": ("audit.report",),
    # Setup writes and reads configurations. Doctor asks it what they say, so setup knows no doctor.
    "cli.setup": ("cli.doctor",),
}
# Where each third-party package appears, and nowhere else.
THIRD_PARTY = {
    "cryptography": {"store.seal"},
    "keyring": {"keystores.library", "embed.keyring_backend"},
    "jeepney": {"keystores.secretservice"},
    "click": {"cli"},
    "idna": {"origin"},
    "platformdirs": {"system.paths"},
    "jinja2": {"audit.report.template"},
    "rich": {"cli.watch", "cli.audit.stats"},
}

# The entrances: what a process was started with is theirs to know, and the rest is told.
ENTRANCES = {"helper", "cli", "embed", "wiring", "testing", "__main__", "programs"}
# What tells one process from another: its variables, words, parent, terminal and streams.
OWN = {
    "os.environ",
    "os.getenv",
    "os.getppid",
    "os.isatty",
    "os.ttyname",
    "sys.argv",
    "sys.stdin",
    "sys.stdout",
    "sys.stderr",
    "/proc/self",
    "/dev/tty",
}
# What looks at it below the entrances, and why that is right for whatever asks.
LOOKS: dict[str, tuple[set[str], str]] = {
    "audit.caller": ({"/dev/tty"}, "the names of others' terminals; none is opened"),
    "system.paths": ({"os.environ", "/proc/self"}, "one process is one user's: where that is"),
    "system.clock": ({"/proc/self"}, "the time namespace is the process's, as its clock is"),
    "system.streams": ({"sys.stderr"}, "the descriptors, for entrances alone"),
    "system.terminal": ({"/dev/tty", "os.isatty"}, "a question to a person, for entrances alone"),
    "secrets.hardening": ({"os.environ", "sys.stderr"}, "shuts the process for its entrance"),
    "shares.kernel": ({"/proc/self"}, "the user namespace, whose keyring the process has"),
    "keystores.kernel": ({"/proc/self"}, "the user namespace, whose keyring the process has"),
    "keystores.secretservice": ({"os.environ"}, "the bus of the user whose process this is"),
}
# What only entrances import.
FOR_ENTRANCES = {"system.streams", "system.terminal"}

# Names of more than one class, with the modules that have them.
SAME_NAME = {
    # The files of a directory of `statefile`, each on its platforms.
    "Files": {"statefile.posix", "statefile.windows"},
    "Found": {"store.opened", "cli.setup.overview"},
}


def modules() -> list[str]:
    """Return the dotted names of all modules below `keylease`."""
    names = (path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
    dotted = (".".join(name.parts).removesuffix(".__init__") for name in names)
    return sorted(name for name in dotted if name != "__init__")


def imports(module: str) -> set[str]:
    """Return the module's imports at run time, without those for type checkers."""
    path = SOURCE / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(file.read_text("utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return found


def own(module: str) -> set[str]:
    """Return the modules of keylease that the module imports, by dotted name."""
    known = set(modules())
    names = {name.removeprefix("keylease.") for name in imports(module) if "keylease." in name}
    return {name if name in known else name.rpartition(".")[0] for name in names} - {""}


def folder(module: str) -> str:
    """Return the top folder of a module, or its own name if it is in none."""
    return module.partition(".")[0]


def layer(module: str) -> int:
    """Return the module's line number in `LAYERS`; the lowest layer has the highest."""
    top = folder(module)
    return next(number for number, (line, _) in enumerate(LAYERS) if top in line)


@pytest.mark.parametrize("module", modules())
def test_module_imports_only_from_lower_layers(module: str) -> None:
    """A module depends only on lower layers, so a reader need not look above it."""
    for name in own(module):
        if folder(name) != folder(module):
            assert layer(name) > layer(module), f"{module} imports {name}"


@pytest.mark.parametrize("module", [name for name in modules() if folder(name) in FAMILIES])
def test_no_module_imports_a_sibling_of_its_family(module: str) -> None:
    """git does not know docker, and no keychain knows another; they share only their base."""
    family = folder(module)
    siblings = {each for each in own(module) if each.startswith(f"{family}.")}
    allowed = {f"{family}.{name}" for name in FAMILIES[family]} | {SPEAKS.get(module, "")}

    assert set() == siblings - allowed


@pytest.mark.parametrize("room", sorted(WALLS))
def test_nothing_passes_a_wall(room: str) -> None:
    """A log line is written without the code that reads it; tools are set up without doctor."""
    inside = [name for name in modules() if _within(name, room)]
    inside = [name for name in inside if not any(_within(name, each) for each in WALLS[room])]
    passing = {
        f"{module} imports {name}"
        for module in inside
        for name in own(module)
        if any(_within(name, behind) for behind in WALLS[room])
    }

    assert inside, f"{room} is empty: is this wall still needed?"
    assert set() == passing


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_third_party_package_appears_in_one_place(package: str) -> None:
    """Each third-party package appears in one module, so it can be replaced there."""
    users = {
        module
        for module in modules()
        if any(name.partition(".")[0] == package for name in imports(module))
    }
    places = {place for place in THIRD_PARTY[package] if place in modules()}
    outside = {user for user in users if not any(_within(user, place) for place in places)}

    assert users, f"no module imports {package}: is it still a dependency?"
    assert set() == outside


def test_tools_are_data():
    """The build reads the table by itself, and a helper pays for nothing else."""
    assert {"sys", "typing.Final", "typing.NamedTuple"} == imports("tools")


def test_every_module_has_a_layer() -> None:
    """Every module has a place in the layers."""
    known = {name for line, _ in LAYERS for name in line}

    assert {folder(module) for module in modules()} == known


def test_only_wiring_names_the_concrete_classes() -> None:
    """Only `wiring` names the concrete classes of a process."""
    classes = {"store.store", "vault.vault", "session.service", "statefile", "audit.log"}
    users = {module for module in modules() if {"store.store", "vault.vault"} & own(module)}

    # `testing` builds a rig of the same classes for the tests of embedders.
    assert {"wiring", "testing"} == users
    assert classes <= own("wiring")


def test_below_the_entrances_nothing_looks_at_its_own_process() -> None:
    """One process can answer for many callers: what a request depends on is in its call."""
    found = {
        module: looks
        for module in modules()
        if folder(module) not in ENTRANCES and (looks := _looks(module))
    }

    assert {module: looks for module, (looks, _) in LOOKS.items()} == found


@pytest.mark.parametrize("module", sorted(FOR_ENTRANCES))
def test_descriptors_and_terminal_are_for_entrances(module: str) -> None:
    """No protocol and no rule reads, writes or asks by itself."""
    users = {each for each in modules() if module in own(each)}

    assert users
    assert {folder(user) for user in users} <= ENTRANCES


def _looks(module: str) -> set[str]:
    """Return what the code of a module names of its own process."""
    path = SOURCE / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            found |= {ast.unparse(node)} & OWN
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {name for name in OWN if name.startswith("/") and node.value.startswith(name)}
    return found


def test_a_name_is_used_for_one_class_only() -> None:
    """Each class name is used once, so a signature is unambiguous."""
    found: dict[str, set[str]] = {}
    for module in modules():
        path = SOURCE / Path(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), set()).add(module)
    shared = {name: places for name, places in found.items() if len(places) > 1}

    assert SAME_NAME == shared


def _within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")
