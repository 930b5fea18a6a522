"""The operating system: clocks, paths, the terminal, streams and the kernel keyring."""
