"""What goes wrong in the demo itself."""


class DemoError(Exception):
    """The demo can't go on; the message says what happened, and what to do or where to look."""
