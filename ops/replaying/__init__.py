"""Replay and audit over the log: who reads it, and where what doesn't fit into memory is kept.

Lives here: what `jobstream replay` and `jobstream audit` do beyond printing. The judging itself is pure, in
`pipeline.replay` and `pipeline.audit`. May import: `ops.reading`, `agents` and `pipeline`, no command line.
"""
