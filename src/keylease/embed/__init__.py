"""Entrances for other programs: the Python API and the keyring backend."""
