"""Entrances for other people's programs: the Python API and the keyring backend."""
