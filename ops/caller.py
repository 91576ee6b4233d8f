"""Who asks."""

import getpass


def user() -> str:
    """Return the user's name, "" where there is none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
