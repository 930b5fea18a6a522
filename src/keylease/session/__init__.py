"""The life of a session: the rules that decide. Start with `service`."""
