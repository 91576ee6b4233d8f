"""Random bytes against the codec and the gate: `make fuzz`, or `python -m tests.fuzz --seconds 600 --seed 0`.

`corpus` has good records, `mutation` spoils them, `schema` makes other people's schemas, `target` is what takes the
bytes and says what must hold of each answer. Imports `agents.gate` and the cores; needs no server.
"""
