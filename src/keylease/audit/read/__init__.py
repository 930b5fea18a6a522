"""Read the audit log: query, verify, follow."""
