"""What goes wrong with the disk."""


class DiskShortError(Exception):
    """A job's disk need can't be met now; the text says what is needed and what there is."""
