"""keylease: a credential helper that holds each credential in a short session.

The names in `__all__` are the public Python API, and docs/embedding.md shows their use. Each is
imported when it is first asked for: a helper needs nothing of this module, and git starts one twice
for every command.
"""

# Type checkers know this name. Importing `typing` or `__future__` would come before `programs` puts
# the path in order.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from keylease.address import Address, parse_url
    from keylease.audit.service import AuditService
    from keylease.auth import AuthenticationService
    from keylease.embedding import (
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
    from keylease.memory import secure_clear
    from keylease.model import Credential, Reply, Session, Target
    from keylease.requirement import LiveSession
    from keylease.rules import Remaining
    from keylease.secret import Secret
    from keylease.session import SessionService

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
    "Address": "keylease.address",
    "AuditError": "keylease.errors",
    "AuditService": "keylease.audit.service",
    "AuthenticationService": "keylease.auth",
    "ConfigError": "keylease.errors",
    "Credential": "keylease.model",
    "KeychainUnavailableError": "keylease.errors",
    "KeyleaseError": "keylease.errors",
    "LiveSession": "keylease.requirement",
    "PolicyError": "keylease.errors",
    "Remaining": "keylease.rules",
    "Reply": "keylease.model",
    "SealError": "keylease.errors",
    "Secret": "keylease.secret",  # nosec B105 - the name of a module, no password
    "Session": "keylease.model",
    "SessionEndedError": "keylease.errors",
    "SessionNotFoundError": "keylease.errors",
    "SessionService": "keylease.session",
    "StateError": "keylease.errors",
    "Target": "keylease.model",
    "UsageError": "keylease.errors",
    "VaultRevokedError": "keylease.errors",
    "audit_service": "keylease.embedding",
    "authentication_service": "keylease.embedding",
    "parse_url": "keylease.address",
    "require_session": "keylease.embedding",
    "secure_clear": "keylease.memory",
    "session_service": "keylease.embedding",
}

if not TYPE_CHECKING:  # which would take it for a promise that every name is there

    def __getattr__(name: str) -> object:
        """Import a name of the public API when it is first asked for (PEP 562)."""
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
