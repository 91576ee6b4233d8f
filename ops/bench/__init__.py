"""`make bench`: what the control path costs, measured with jobs that run nothing.

An installation of its own on free ports; throughput, latency at a steady rate, how busy the slots stay behind a burst,
and where an orchestrator's time goes. May import everything; nothing imports it.
"""
