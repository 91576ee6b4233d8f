"""Deterministic simulation of the ledger, the scheduler and a worker's protocol core (decision 021).

One seed makes one world: virtual time (`timeline`), a broker (`bus`), the real orchestrator shell over simulated
stores (`owner`, `stores`, `loop`), gates, workers and schedulers around their real cores, and faults (`plan`). The log
is folded beside it (`reference`), each step is checked (`oracle`, `watch`), and what fails is shrunk (`shrink`).
`python -m tests.simulation` runs many worlds; `mutants` lists the bugs that must be caught.
Imports everything but `ops`; nothing imports it.
"""
