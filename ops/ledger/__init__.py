"""The ledger's tables and its log: whether they agree, the tables written again, and a move to more partitions.

Lives here: what `jobstream ledger` does beyond printing. May import: `ops.reading`, `ops.replaying`,
`ops.cluster.groups`, `agents` and `pipeline`, no command line.
"""
