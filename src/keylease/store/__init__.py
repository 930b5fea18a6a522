"""Sealed sessions on the disk: the format, the cipher, and the files."""
