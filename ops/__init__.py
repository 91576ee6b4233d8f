"""What operators use: the command line, the embedded servers, the demo, the benchmark.

May import everything; nothing imports `ops`.
"""
