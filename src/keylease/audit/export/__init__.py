"""The audit log in other programs' formats."""
