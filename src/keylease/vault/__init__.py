"""The vault: its record, its keys in the keychain, and their rotation and revocation."""
