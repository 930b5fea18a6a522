"""Helper protocols: one module each, chosen by name from a table."""
