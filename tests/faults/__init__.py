"""Faults of what jobstream stands on, made on purpose against real servers: stopped processes, networks, disks, bytes.

Each test ends with the audit as its judge (`support.nothing_is_violated`), and with the outcome that the table of
docs/reliability.md promises. JOBSTREAM_LONG=1 makes the outages last for minutes, as they do.
May import: everything; installations come from `tests.acceptance.support`.
"""
