"""Who may import whom: each module only from lower layers, each third party in one place."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(importlib.util.find_spec("keylease").origin).parent  # type: ignore[union-attr,arg-type]

# From the bottom up. A module may import what stands before its own line, and nothing of its line.
# A package stands for all of its modules; what a family may share is its `base`.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "programs"),
    ("faults",),
    ("memory",),
    ("secret", "paths", "base64text"),
    ("clock",),
    ("model",),
    ("record", "keyctl", "jsontext", "httpauth", "origin", "terminal", "process", "stdio"),
    ("seal", "statefile", "protocols", "shares", "rules", "keystores"),
    ("audit", "address", "config"),
    ("vaultrecord", "lookup"),
    ("generations",),
    ("vault",),
    ("buckets", "release"),
    ("echoes",),
    ("sealedsessions",),
    ("store",),
    ("judgement", "echo", "choice", "beginning", "listings"),
    ("sweep", "askers"),
    ("operation",),
    ("collection",),
    ("session",),
    ("auth", "custody", "requirement"),
    ("wiring",),
    ("helper", "cli", "embedding", "keyring_backend"),
    ("testing", "__main__"),
)
# Families: one module each beside `base`, which no other of the family may import.
FAMILIES = ("protocols", "keystores", "shares")
# Where each third-party package appears, and nowhere else.
THIRD_PARTY = {
    "cryptography": {"seal"},
    "keyring": {"keystores.library", "keyring_backend"},
    "idna": {"origin"},
    "jeepney": {"keystores.secretservice"},
    "click": {"cli"},
    "platformdirs": {"paths"},
    "rich": {"cli.watch", "cli.audit.stats"},
}
# A package may use its own modules; these have no order that matters outside.
PACKAGES = {"audit", "statefile", "cli", "config"}


def modules() -> list[str]:
    """Return the dotted names of all modules below `keylease`."""
    names = (path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py"))
    dotted = (".".join(name.parts).removesuffix(".__init__") for name in names)
    return sorted(name for name in dotted if name != "__init__")


def imports(module: str) -> set[str]:
    """Return what the module imports when it runs; imports for type checkers do not run."""
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
    """Return the modules of keylease that the module imports, by their dotted names."""
    known = set(modules())
    names = {name.removeprefix("keylease.") for name in imports(module) if "keylease." in name}
    return {name if name in known else name.rpartition(".")[0] for name in names} - {""}


def layer(module: str) -> int:
    """Return the number of the module's layer."""
    top = module.partition(".")[0]
    return next(number for number, line in enumerate(LAYERS) if top in line)


@pytest.mark.parametrize("module", modules())
def test_module_imports_only_from_lower_layers(module: str) -> None:
    """A reader who knows what is below a module knows all that it can do."""
    top = module.partition(".")[0]
    for name in own(module):
        if name.partition(".")[0] == top and (top in PACKAGES or top in FAMILIES):
            continue
        assert layer(name) < layer(module), f"{module} imports {name}"


@pytest.mark.parametrize(
    "module", [name for name in modules() if name.partition(".")[0] in FAMILIES]
)
def test_no_module_imports_a_sibling_of_its_family(module: str) -> None:
    """git does not know docker, and no keychain knows another; they share their `base`."""
    family, _, name = module.partition(".")
    siblings = {each for each in own(module) if each.startswith(f"{family}.")}
    assert siblings <= {f"{family}.base", f"{family}.unavailable"}, f"{name or family}: {siblings}"


@pytest.mark.parametrize("package", sorted(THIRD_PARTY))
def test_third_party_package_appears_in_one_place(package: str) -> None:
    """Each dependency can be replaced by looking at one module."""
    users = {
        module
        for module in modules()
        if any(name.partition(".")[0] == package for name in imports(module))
    }
    places = {place for place in THIRD_PARTY[package] if place in modules()}
    outside = {user for user in users if not any(_within(user, place) for place in places)}

    assert users, f"nobody imports {package}: is it still a dependency?"
    assert set() == outside


def test_every_module_has_a_layer() -> None:
    """A new module is put into the order of the layers on purpose."""
    known = {name for line in LAYERS for name in line}

    assert {module.partition(".")[0] for module in modules()} <= known


def test_only_wiring_names_the_concrete_classes() -> None:
    """What a process is made of stands in one place."""
    concrete = {"store", "vault", "session", "statefile", "shares.policy", "audit.log"}
    users = {module for module in modules() if {"vault", "store", "session"} & own(module)}

    # The second one is for tests, the third stands for what the first one makes.
    assert {"wiring", "testing", "embedding"} == users - {"auth", "store", "session", "vault"}
    assert concrete <= own("wiring")


def _within(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")
