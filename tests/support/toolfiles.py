"""The configuration of each tool that setup edits, with secrets around our lines."""

from __future__ import annotations

from typing import NamedTuple

CANARY = "hunter2canary"
"""What no file of keylease's may hold."""


class ToolFile(NamedTuple):
    """One tool's file, as a user wrote it."""

    words: tuple[str, ...]
    """What stands behind `keylease setup`."""
    name: str
    """Below the home."""
    text: str
    undo: tuple[str, ...] = ()
    """What stands behind `keylease setup TOOL --undo`, if anything."""

    @property
    def tool(self) -> str:
        """The tool's name."""
        return self.words[0]


FILES = (
    ToolFile(
        ("git",),
        ".gitconfig",
        f"# mine\n[http]\n\textraHeader = {CANARY}\n[credential]\n\thelper = !echo {CANARY} # a\n"
        f'[url "https://{CANARY}@x/"]\n\tinsteadOf = x ; last',
    ),
    ToolFile(
        ("docker", "a.example", "b.example"),
        ".docker/config.json",
        f'{{"x": "{CANARY}",\n "credHelpers": {{"a.example": "desktop"}},\n'
        f' "auths": {{"r": {{"auth": "{CANARY}"}}}}}}',
    ),
    ToolFile(
        ("cargo",),
        ".cargo/config.toml",
        f'# {CANARY}\n[registry]\nglobal-credential-providers = [\n  "tool {CANARY}", # {CANARY}\n'
        f']\ntoken = "{CANARY}"\n',
    ),
    ToolFile(
        ("aws", "prod", "dev", "new"),
        ".aws/config",
        f"# {CANARY}\n[profile prod]\naws_secret_access_key = {CANARY}1\n"
        f"credential_process = /bin/tool --key {CANARY}\n[profile dev]\n"
        f"aws_secret_access_key = {CANARY}2",
    ),
    ToolFile(
        ("vault",),
        ".vault",
        f'# {CANARY}\ntoken_helper = "/bin/{CANARY}"\n# {CANARY}',
    ),
    ToolFile(("terraform",), ".terraformrc", f'credentials "x" {{\n  token = "{CANARY}"\n}}'),
    ToolFile(
        ("go",),
        ".config/go/env",
        f"GOPROXY=https://{CANARY}@x\nGOAUTH=/bin/tool --key {CANARY} ; netrc\nGOX={CANARY}",
    ),
    ToolFile(
        ("pip",),
        ".config/pip/pip.conf",
        f"[global]\nindex-url = https://a:{CANARY}@x/\n[x]\ny = {CANARY}",
    ),
    ToolFile(
        ("pnpm", "https://a.example", "https://b.example"),
        ".npmrc",
        f"//a.example/:tokenHelper=/old/keylease-pnpm https://a.example/\n"
        f"//a.example/:_authToken={CANARY}\n//b.example/:_authToken={CANARY}",
    ),
    ToolFile(
        ("bazel", "a.example", "b.example"),
        ".bazelrc",
        f"common --credential_helper=a.example=/old/keylease-bazel\n"
        f"build --remote_header=authorization={CANARY}\n",
    ),
    ToolFile(
        ("kubernetes", "ada"),
        ".kube/config",
        f"apiVersion: v1\nkind: Config\n# {CANARY}\nusers:\n- name: other\n  user:\n"
        f"    token: {CANARY}1\n- name: ada # {CANARY}\n  user: {{}}\n- name: last\n  user:\n"
        f"    token: {CANARY}2\n",
        ("ada",),
    ),
)
"""Those that need no other program than git and kubectl."""
