"""keylease: a credential helper that holds each credential in a short session.

The names in `__all__` are the public Python API, and docs/embedding.md shows their use. Each is
imported at its first use, because a helper needs none of them and git starts one twice for every
command.
"""

# Type checkers know this name. Importing `typing` or `__future__` here would happen before
# `programs` cleans `sys.path`.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from keylease.audit.read.service import AuditService
    from keylease.embed.decorator import LiveSession
    from keylease.embed.services import (
        audit_service,
        authentication_service,
        require_session,
        session_service,
    )
    from keylease.errors import (
        AuditError,
        ConfigError,
        KeychainUnavailableError,
        KeyleaseError,
        PolicyError,
        SealError,
        SessionEndedError,
        SessionNotFoundError,
        StateError,
        UsageError,
        VaultRevokedError,
    )
    from keylease.model import Credential, Reply, Session, Target
    from keylease.protocols.address import Address, parse_url
    from keylease.rules import Remaining
    from keylease.secrets.memory import secure_clear
    from keylease.secrets.secret import Secret
    from keylease.session.auth import AuthenticationService
    from keylease.session.service import SessionService

__all__ = [
    "Address",
    "AuditError",
    "AuditService",
    "AuthenticationService",
    "ConfigError",
    "Credential",
    "KeychainUnavailableError",
    "KeyleaseError",
    "LiveSession",
    "PolicyError",
    "Remaining",
    "Reply",
    "SealError",
    "Secret",
    "Session",
    "SessionEndedError",
    "SessionNotFoundError",
    "SessionService",
    "StateError",
    "Target",
    "UsageError",
    "VaultRevokedError",
    "audit_service",
    "authentication_service",
    "parse_url",
    "require_session",
    "secure_clear",
    "session_service",
]

__version__ = "0.1.0"

# Where each name of the public API lives.
_MODULES = {
    "Address": "keylease.protocols.address",
    "AuditError": "keylease.errors",
    "AuditService": "keylease.audit.read.service",
    "AuthenticationService": "keylease.session.auth",
    "ConfigError": "keylease.errors",
    "Credential": "keylease.model",
    "KeychainUnavailableError": "keylease.errors",
    "KeyleaseError": "keylease.errors",
    "LiveSession": "keylease.embed.decorator",
    "PolicyError": "keylease.errors",
    "Remaining": "keylease.rules",
    "Reply": "keylease.model",
    "SealError": "keylease.errors",
    "Secret": "keylease.secrets.secret",  # nosec B105 - the name of a module, no password
    "Session": "keylease.model",
    "SessionEndedError": "keylease.errors",
    "SessionNotFoundError": "keylease.errors",
    "SessionService": "keylease.session.service",
    "StateError": "keylease.errors",
    "Target": "keylease.model",
    "UsageError": "keylease.errors",
    "VaultRevokedError": "keylease.errors",
    "audit_service": "keylease.embed.services",
    "authentication_service": "keylease.embed.services",
    "parse_url": "keylease.protocols.address",
    "require_session": "keylease.embed.services",
    "secure_clear": "keylease.secrets.memory",
    "session_service": "keylease.embed.services",
}

if not TYPE_CHECKING:  # a type checker would accept any name because of `__getattr__`

    def __getattr__(name: str) -> object:
        """Import a name of the public API at its first use (PEP 562)."""
        module = _MODULES.get(name)
        if module is None:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        from importlib import import_module

        value = globals()[name] = getattr(import_module(module), name)
        return value


def __dir__() -> list[str]:
    """Return the public API, imported or not."""
    return [*__all__, "__version__"]
