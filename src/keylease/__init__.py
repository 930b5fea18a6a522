"""keylease: a credential helper that holds each credential in a short session."""

from __future__ import annotations

__version__ = "0.1.0"
