"""What goes wrong with downloads and embedded servers."""


class EmbeddedError(Exception):
    """A failure that the operator can do something about: the message says what happened and what to do."""
