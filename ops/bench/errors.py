"""What keeps a benchmark from its result."""


class BenchError(Exception):
    """A measurement that can't begin or did not come to its end; the text says why, and how far it came."""
