"""What things cost on this machine: `make bench` the control path, `make bench-worker` the running of jobs.

The control path with jobs that run nothing: throughput, latency at a steady rate, how busy the slots stay behind a
burst, and where an orchestrator's time goes. The worker with jobs that do nothing or sleep: what it adds to a
container, and how busy its slots are. `make bench-long-life`: a full table through kills, lost disks and upgrades;
`make bench-replay-index`: the index from the log. Each on an installation of its own, on free ports. May import
everything; nothing imports it.
"""
