"""Where keylease keeps its state and its configuration.

This module only names paths; it creates nothing. For Linux it implements the rule itself, because
every run of the helper needs it and platformdirs takes long to import. The tests compare the two.
"""

from __future__ import annotations

import os
import sys

from keylease.errors import StateError, UsageError

_NAME = "keylease"
_POLICY = "policy.toml"


def state_directory() -> str:
    """Return the absolute path of the state directory.

    `KEYLEASE_STATE_DIR` overrides the default. The default is `$XDG_STATE_HOME/keylease`, else
    `~/.local/state/keylease` (XDG Base Directory Specification 0.8); on macOS and Windows it is the
    platform's own directory.

    Raises:
        UsageError: `KEYLEASE_STATE_DIR` is not an absolute path.
        StateError: this user has no home directory.
    """
    named = os.environ.get("KEYLEASE_STATE_DIR")
    if named:
        if not os.path.isabs(named):
            # Using the default instead would mix a trial with the user's real sessions.
            msg = "KEYLEASE_STATE_DIR is not an absolute path"
            raise UsageError(msg, "set it to the absolute path of a directory, or unset it")
        return named
    return _state_directory()


def config_directory() -> str:
    """Return the absolute path of the configuration directory.

    Raises:
        StateError: this user has no home directory.
    """
    return _config_directory()


def policy_file() -> str:
    """Return the absolute path of the policy of this machine. No variable overrides it.

    Raises:
        StateError: Windows does not return the directory.
    """
    return _policy_file()


if sys.platform == "linux":

    def runtime_directory() -> str:
        """Return the absolute path of the login's runtime directory, if it is in memory.

        XDG Base Directory Specification: `$XDG_RUNTIME_DIR` is the user's, and ends with the login.

        Raises:
            StateError: there is none, or it is on a disk.
        """
        path = os.environ.get("XDG_RUNTIME_DIR", "")
        if not os.path.isabs(path):
            msg = "there is no runtime directory: XDG_RUNTIME_DIR is not set"
            raise StateError(msg)
        try:
            device = os.stat(path).st_dev
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
                # proc(5): the third field is the device, the first after the dash the file system.
                kinds = {line.split()[2]: line.partition(" - ")[2].split()[0] for line in mounts}
        except OSError as error:
            msg = f"the runtime directory cannot be used: {error.strerror}"
            raise StateError(msg) from error
        if kinds.get(f"{os.major(device)}:{os.minor(device)}") != "tmpfs":
            msg = "the runtime directory is not a tmpfs, so a share in it could outlive its session"
            raise StateError(msg)
        return path

    def _state_directory() -> str:
        return _xdg("XDG_STATE_HOME", ".local/state")

    def _config_directory() -> str:
        return _xdg("XDG_CONFIG_HOME", ".config")

    def _policy_file() -> str:
        return f"/etc/{_NAME}/{_POLICY}"

    def _xdg(variable: str, default: str) -> str:
        # "All paths set in these environment variables must be absolute. If an implementation
        # encounters a relative path [...] it should consider the path invalid and ignore it."
        base = os.environ.get(variable, "")
        if not os.path.isabs(base):
            base = os.path.join(_home(), default)
        return os.path.join(base, _NAME)

    def _home() -> str:
        home = os.environ.get("HOME", "")
        if not os.path.isabs(home):
            home = _recorded_home()
        if not os.path.isabs(home):
            msg = f"user {os.geteuid()} has no home directory to keep the state in"
            raise StateError(msg, "set HOME or KEYLEASE_STATE_DIR")
        return home

    def _recorded_home() -> str:
        import pwd

        try:
            return pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:  # a container may run under a user number without a passwd entry
            return ""

else:

    def _state_directory() -> str:
        import platformdirs

        return platformdirs.user_state_dir(_NAME, appauthor=False)

    def _config_directory() -> str:
        import platformdirs

        return platformdirs.user_config_dir(_NAME, appauthor=False)

    if sys.platform == "win32":

        def _policy_file() -> str:
            # NOTE: neither %ProgramData% nor platformdirs: a variable overrides both, and the user
            # whom the policy binds can set variables.
            import ctypes

            # KNOWNFOLDERID: FOLDERID_ProgramData, {62AB5D82-FDC1-4DC3-A9DD-070D1D495D97}.
            folder = bytes.fromhex("825dab62c1fdc34da9dd070d1d495d97")
            found = ctypes.c_wchar_p()
            code = ctypes.WinDLL("shell32").SHGetKnownFolderPath(
                folder, 0, None, ctypes.byref(found)
            )
            try:
                if code != 0 or not found.value:
                    msg = "Windows returns no path of ProgramData, so no policy can be read"
                    raise StateError(msg)
                return os.path.join(found.value, _NAME, _POLICY)
            finally:
                ctypes.WinDLL("ole32").CoTaskMemFree(found)

    else:

        def _policy_file() -> str:
            # "File System Programming Guide": the Library directory of all users.
            return f"/Library/Application Support/{_NAME}/{_POLICY}"
