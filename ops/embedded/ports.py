"""Loopback ports: choosing free ones and refusing taken ones."""

import socket

import psutil

from ops.embedded.errors import EmbeddedError

LOOPBACK = "127.0.0.1"


def free_port(taken: frozenset[int] | set[int] = frozenset()) -> int:
    """Return a loopback port that nobody listens on and that is not in `taken`.

    Another process may take it before it is used: whoever binds it must be able to fail.
    """
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def is_free(port: int) -> bool:
    """Say whether a server could bind `port` on loopback now."""
    with socket.socket() as probe:
        # as the servers do: a port whose last connections linger in TIME_WAIT is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free(port: int, use: str, setting: str) -> None:
    """Raise EmbeddedError where `port` is taken, naming its `use` and the `setting` that changes it."""
    if not is_free(port):
        raise EmbeddedError(
            f"port {port} ({use}) is in use on {LOOPBACK}{_holder(port)}: "
            f"stop what listens there, or set {setting} to another port (0: any free one)"
        )


def _holder(port: int) -> str:
    """Say who listens on `port`, as far as the operating system lets this user know."""
    try:
        connections = psutil.net_connections("tcp")
        pids = {
            one.pid for one in connections if one.laddr and one.laddr.port == port and one.status == psutil.CONN_LISTEN
        }
        known = [psutil.Process(pid) for pid in pids if pid]
        return "".join(f" by {one.name()} (pid {one.pid})" for one in known)
    except psutil.Error:
        return ""
