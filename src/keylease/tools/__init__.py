"""The facts about each tool, as data: one row for each tool. Every list of tools reads this table.

It imports nothing of keylease, because every helper imports it to find its protocol. The build runs
this file alone.
"""

import sys
from typing import Final, NamedTuple


class Location(NamedTuple):
    """The place where a tool looks for a file. `keylease.cli.location` makes a path of it."""

    name: str
    """Relative to the base directory."""
    base: str = "~"
    """The base directory; empty if only the variable names one."""
    variable: str = ""
    """The environment variable that names another base directory."""
    files: tuple[str, ...] = ()
    """The environment variables that name the file itself."""


class PlaintextFile(NamedTuple):
    """A file in which a tool keeps credentials, and the pattern of one."""

    tool: str
    location: Location
    credential: bytes
    """A regular expression; `^` matches at each line, and case is ignored."""
    remedy: str


class Form(NamedTuple):
    """The questions of `keylease login`."""

    username: str | None
    """The label of the user name; `None` if there is none."""
    secret: str
    """The label of the secret."""
    fields: tuple[str, ...] = ()
    """The names of further secrets that a session can hold."""
    instead: str | None = None
    """The field that replaces the secret when `fields` are given."""


class Tool(NamedTuple):
    """A tool that asks keylease."""

    name: str
    """Its name for `--tool` and `keylease setup`."""
    title: str
    """Its name in text, with those of programs that ask in the same way."""
    commands: tuple[str, ...]
    """The tool's own programs; if one of them is on PATH, the tool is installed."""
    program: str = ""
    """The program of keylease that it runs; empty if it asks through the library keyring."""
    protocol: str = ""
    """The module of `keylease.protocols` that answers; empty if it uses another tool's."""
    page: str = ""
    """Its page in docs/tools, without the ending."""
    target: str = ""
    """The URL argument that `keylease login --tool` expects."""
    holds: str = ""
    """The content of its sessions."""
    login: Form = Form(None, "Token")
    """The questions of a login."""
    setup: str = ""
    """The command that sets it up, with the argument that it needs; empty without a setup."""
    replaces: str = ""
    """The file that holds the secret in plaintext without keylease."""
    since: str = ""
    """The lowest version that can ask keylease; empty if it is not known."""
    see: tuple[str, ...] = ()
    """Manual pages of other projects to read."""
    configuration: tuple[Location, ...] = ()
    """The files that `keylease setup` writes; in the order of `commands` if each has its own."""
    plaintext: tuple[PlaintextFile, ...] = ()


_XDG: Final = ("~/.config", "XDG_CONFIG_HOME")
_APPDATA: Final = ("~", "APPDATA")
# os.UserConfigDir of Go, and the user's directory of pip (its documentation, "Configuration").
_USER: Final = {"win32": _APPDATA, "darwin": ("~/Library/Application Support", "")}.get(
    sys.platform, _XDG
)
_WINDOWS: Final = sys.platform == "win32"

# docker-login(1): base64 of user name and password, or a token. With a credential store the entry
# of a registry is empty.
_DOCKER: Final = rb'"(?:auth|password|identitytoken|registrytoken)"\s*:\s*"[^"]+"'
_PODMAN_REMEDY: Final = "run: keylease setup podman; log in again, delete it, change the passwords"
# The Cargo Book, "Configuration": [registry] and [registries.NAME] have a token.
_CARGO: Final = rb"^[ \t]*token[ \t]*=[ \t]*[\"']\S"
_CARGO_REMEDY: Final = "run: keylease setup cargo; log in again, delete the file, change the tokens"
_CARGO_HOME: Final = ("~/.cargo", "CARGO_HOME")
# git-credential-store(1): a URL with user name and password on each line.
_GIT: Final = rb"^[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"
_GIT_REMEDY: Final = "run: keylease setup git; then delete the file and change the passwords in it"
# pip.conf(5) and the like: a URL with user name and password in it.
_URL: Final = rb"[a-z][a-z0-9+.-]*://[^/\s:@]*:(?!\$\{)[^/\s@]+@"
_PIP_REMEDY: Final = "take the password out of the URL; run: keylease setup pip; then log in"
# .netrc of ftp(1) and curl(1).
_NETRC: Final = rb"(?:^|\s)password\s+\S"
_NETRC_REMEDY: Final = "take the passwords out, and change them"

TOOLS: Final = (
    Tool(
        name="git",
        title="git",
        commands=("git",),
        program="git-credential-keylease",
        protocol="git",
        login=Form("Username", "Password"),
        setup="keylease setup git",
        replaces="`~/.git-credentials`, `~/.netrc`",
        plaintext=(
            PlaintextFile("git", Location(".git-credentials"), _GIT, _GIT_REMEDY),
            PlaintextFile("git", Location("git/credentials", *_XDG), _GIT, _GIT_REMEDY),
        ),
    ),
    Tool(
        name="docker",
        title="docker and docker-py",
        commands=("docker",),
        program="docker-credential-keylease",
        protocol="docker",
        page="docker",
        target="a registry: `registry.example:5000`, `docker.io`",
        holds="user name and password",
        login=Form("Username", "Password"),
        setup="keylease setup docker",
        replaces="`~/.docker/config.json`",
        see=("docker-login",),
        configuration=(Location("config.json", "~/.docker", "DOCKER_CONFIG"),),
        plaintext=(
            PlaintextFile(
                "docker",
                Location("config.json", "~/.docker", "DOCKER_CONFIG"),
                _DOCKER,
                "run: keylease setup docker --move; then change the passwords that were in it",
            ),
        ),
    ),
    Tool(
        name="podman",
        title="podman, skopeo and buildah",
        commands=("podman", "skopeo", "buildah"),
        program="docker-credential-keylease",
        page="docker",
        setup="keylease setup podman",
        replaces="`auth.json`",
        # containers-registries.conf.d(5). containers/image reads XDG_CONFIG_HOME, too.
        configuration=(Location("containers/registries.conf.d/90-keylease.conf", *_XDG),),
        # containers-auth.json(5) names both, in this order.
        plaintext=(
            PlaintextFile(
                "podman",
                Location("containers/auth.json", "", "XDG_RUNTIME_DIR"),
                _DOCKER,
                _PODMAN_REMEDY,
            ),
            PlaintextFile(
                "podman", Location("containers/auth.json", *_XDG), _DOCKER, _PODMAN_REMEDY
            ),
        ),
    ),
    Tool(
        name="cargo",
        title="cargo",
        commands=("cargo",),
        program="cargo-credential-keylease",
        protocol="cargo",
        page="cargo",
        target="the URL of an index, or `crates-io`",
        holds="a token",
        setup="keylease setup cargo",
        replaces="`~/.cargo/credentials.toml`",
        since="1.74",
        see=("cargo-login",),
        # The Cargo Book, "Configuration": if both exist, the one without an extension counts.
        configuration=(Location("config", *_CARGO_HOME), Location("config.toml", *_CARGO_HOME)),
        plaintext=(
            PlaintextFile(
                "cargo", Location("credentials.toml", *_CARGO_HOME), _CARGO, _CARGO_REMEDY
            ),
            PlaintextFile("cargo", Location("credentials", *_CARGO_HOME), _CARGO, _CARGO_REMEDY),
        ),
    ),
    Tool(
        name="aws",
        title="the AWS CLI and boto3",
        commands=("aws",),
        program="keylease-aws",
        protocol="aws",
        page="aws",
        target="any name, such as that of a profile",
        holds="access key id (the user name), secret access key, `session_token`",
        login=Form("Access key id", "Secret access key", ("session_token",)),
        setup="keylease setup aws PROFILE",
        replaces="`~/.aws/credentials`",
        configuration=(
            Location(".aws/config", files=("AWS_CONFIG_FILE",)),
            Location(".aws/credentials", files=("AWS_SHARED_CREDENTIALS_FILE",)),
        ),
        plaintext=(
            PlaintextFile(
                "aws",
                Location(".aws/credentials"),
                rb"^[ \t]*aws_secret_access_key[ \t]*=[ \t]*\S",
                "run: keylease setup aws PROFILE; take the key out, and change it at AWS",
            ),
        ),
    ),
    Tool(
        name="kubernetes",
        title="kubectl and Kubernetes clients",
        commands=("kubectl",),
        program="keylease-kubernetes",
        protocol="kubernetes",
        page="kubernetes",
        target="the URL of a server",
        holds="a token, or `certificate` and `key`",
        login=Form(None, "Token", ("certificate",), instead="key"),
        setup="keylease setup kubernetes USER",
        replaces="tokens and keys in `~/.kube/config`",
        see=("kubectl",),
        # KUBECONFIG can name several files; `keylease.cli.setup.kubernetes` splits it.
        configuration=(Location(".kube/config"),),
        plaintext=(
            # kubectl(1), "kubeconfig": the secrets of a user without `exec`.
            PlaintextFile(
                "kubernetes",
                Location(".kube/config"),
                rb"^[ \t]*(?:- )?(?:token|password|client-key-data)[ \t]*:[ \t]*\S",
                "take it out of the user, and run: keylease setup kubernetes USER",
            ),
        ),
    ),
    Tool(
        name="vault",
        title="Vault and OpenBao",
        commands=("vault", "bao"),
        program="keylease-vault",
        protocol="vault",
        page="vault",
        target="the address of a server, as in `VAULT_ADDR`",
        holds="a token",
        setup="keylease setup vault",
        replaces="`~/.vault-token`",
        see=("vault",),
        configuration=(
            Location(".vault", files=("VAULT_CONFIG_PATH",)),
            Location(".bao", files=("BAO_CONFIG_PATH",)),
        ),
        plaintext=(
            PlaintextFile(
                "vault",
                Location(".vault-token"),
                rb"\S",
                "revoke it, and run: keylease setup vault",
            ),
        ),
    ),
    Tool(
        name="terraform",
        title="Terraform and OpenTofu",
        commands=("terraform", "tofu"),
        program="terraform-credentials-keylease",
        protocol="terraform",
        page="terraform",
        target="a host: `app.terraform.io`, `registry.example:8443`",
        holds="a token",
        setup="keylease setup terraform",
        replaces="`credentials.tfrc.json`",
        see=("terraform",),
        configuration=(
            Location("terraform.rc", *_APPDATA) if _WINDOWS else Location(".terraformrc"),
            Location("tofu.rc", *_APPDATA) if _WINDOWS else Location(".tofurc"),
        ),
        plaintext=(
            # "CLI Configuration" in Terraform's documentation: a block `credentials` with a token.
            PlaintextFile(
                "terraform",
                Location(".terraformrc"),
                rb"^[^#\n]*\btoken[ \t]*=[ \t]*\"\S",
                "take the block out; run: keylease setup terraform; then: terraform login",
            ),
            PlaintextFile(
                "terraform",
                Location(".terraform.d/credentials.tfrc.json"),
                rb'"token"\s*:\s*"[^"]+"',
                "run: terraform logout; then: keylease setup terraform",
            ),
        ),
    ),
    Tool(
        name="go",
        title="the go command",
        commands=("go",),
        program="keylease-goauth",
        protocol="goauth",
        page="go",
        target="the URL of a server; git can use the same session",
        holds="a token without a user name",
        setup="keylease setup go",
        replaces="`~/.netrc`",
        since="1.24",
        see=("go",),
        # GOENV names another one; `keylease.cli.setup.go` knows its special values.
        configuration=(Location("go/env", *_USER),),
    ),
    Tool(
        name="pip",
        title="pip and uv",
        commands=("pip", "pip3"),
        page="pip",
        setup="keylease setup pip",
        replaces="`pip.conf`, passwords in URLs",
        since="23.1",
        # PIP_CONFIG_FILE names another one; `keylease.cli.setup.pip` knows its special values.
        configuration=(
            Location("pip/pip.ini" if _WINDOWS else "pip/pip.conf", *_USER),
            Location("pip/pip.conf", *_XDG),
        ),
        plaintext=(
            PlaintextFile("pip", Location("pip/pip.conf", *_XDG), _URL, _PIP_REMEDY),
            PlaintextFile("pip", Location(".pip/pip.conf"), _URL, _PIP_REMEDY),
        ),
    ),
    Tool(
        name="pnpm",
        title="pnpm",
        commands=("pnpm",),
        program="keylease-pnpm",
        protocol="pnpm",
        page="pnpm",
        target="the URL of a registry",
        holds="a token",
        setup="keylease setup pnpm REGISTRY",
        replaces="tokens in `~/.npmrc`",
        see=("pnpm",),
        configuration=(
            Location(".npmrc", files=("NPM_CONFIG_USERCONFIG", "npm_config_userconfig")),
        ),
        plaintext=(
            # npmrc(5): a reference to a variable is not plaintext.
            PlaintextFile(
                "npm",
                Location(".npmrc"),
                rb"(?:^|:)_(?:authToken|password|auth)\s*=\s*[\"']?(?!\$\{)[^\s\"']",
                "for pnpm: keylease setup pnpm REGISTRY; for npm: npm logout",
            ),
        ),
    ),
    Tool(
        name="bazel",
        title="Bazel",
        commands=("bazel", "bazelisk"),
        program="keylease-bazel",
        protocol="bazel",
        page="bazel",
        target="the URL of a server; git can use the same session",
        holds="a token without a user name",
        setup="keylease setup bazel HOST",
        replaces="`~/.netrc`, headers in `.bazelrc`",
        since="7",
        see=("bazel",),
        configuration=(Location(".bazelrc"),),
        plaintext=(
            PlaintextFile(
                "bazel",
                Location(".bazelrc"),
                rb"^[^#\n]*_header=[\"']?(?:proxy-)?authorization=",
                "take the line out; run: keylease setup bazel HOST; then log in",
            ),
        ),
    ),
)
"""Each tool, in the order in which `keylease setup` lists them."""

PLAINTEXT: Final = (
    *(file for tool in TOOLS for file in tool.plaintext),
    PlaintextFile("curl, git and others", Location(".netrc"), _NETRC, _NETRC_REMEDY),
    PlaintextFile("curl, git and others", Location("_netrc"), _NETRC, _NETRC_REMEDY),
    PlaintextFile(
        "twine",
        Location(".pypirc"),
        rb"^[ \t]*password[ \t]*[:=][ \t]*\S",
        "take the password out; twine asks the keyring for it",
    ),
    PlaintextFile(
        "poetry",
        Location("pypoetry/auth.toml", *_XDG),
        rb"^[ \t]*(?:password[ \t]*=[ \t]*[\"'][^\"'\s]|\[pypi-token)",
        "run: poetry config --unset http-basic.NAME; then: keylease login URL",
    ),
)
"""The files with plaintext, also of tools without a row. A file that a tool is configured to keep
elsewhere is not found."""


def named(name: str) -> Tool:
    """Return the row of a tool, which must be in the table."""
    return next(tool for tool in TOOLS if tool.name == name)
