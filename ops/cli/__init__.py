"""The command line `jobstream`: one file a noun.

Lives here: commands, how they print (`output`), how they fail (`errors`, `exits`). What they do lies in `ops.cluster`,
`ops.reading`, `ops.submitting` and `agents`, imported inside each command: `--help` must not wait for Kafka's client.
"""
