"""Secrets in memory: held in locked pages, compared in constant time, wiped after use."""
