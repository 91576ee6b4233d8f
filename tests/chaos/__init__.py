"""Chaos: a whole installation with a real broker and index, killed at each crash point and at random (decision 023).

`site` runs the servers and the agents (`process`), `load` submits jobs of all kinds without a pause and knows what
must become of each, `watch` reads the facts meanwhile. `plan` says who dies where, `lanes` see to it that it does and
start it again. At the end `judge` waits for every job and asks `jobstream audit`, `replay verify` and `replay index
--compare`; `report` writes the table. `python -m tests.chaos` runs it for long, `test_chaos` each crash point once.
Imports everything; nothing imports it.
"""
