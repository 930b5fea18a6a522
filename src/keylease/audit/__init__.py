"""The audit log.

`events` lists what a line can say. `log` writes lines through `chain`, which finds the end of the
log by `head` and `pin`. The packages `read`, `report` and `export` search, verify, show and export
the log.
"""
