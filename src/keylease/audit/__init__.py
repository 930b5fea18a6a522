"""The audit log: what is written (`events`), by whom (`caller`) and how (`log`)."""
