"""The HTML report of the audit log."""
