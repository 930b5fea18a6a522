"""The audit log: written, read, judged and handed on.

What can be written is in `events`, and `log` writes it by way of `chain`, which knows the end by
`head` and `pin`. `reader` and `query` find lines, `verify` judges all of them, and `report`,
`stats` and `feed` make something of them for people and for other systems.
"""
