"""Volatile shares: the half of a session's key that dies by itself. One mechanism a file."""
