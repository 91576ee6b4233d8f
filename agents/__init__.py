"""The processes: gate, orchestrator, scheduler, worker, sink. Each wires a pure core of `pipeline` to real servers.

May import `pipeline` and `schemas`, never `ops`.
"""
