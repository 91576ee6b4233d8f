"""Loopback ports: choosing free ones and refusing taken ones."""

import random
import socket
from pathlib import Path

import psutil

from ops.embedded.errors import EmbeddedError

LOOPBACK = "127.0.0.1"
#: Servers that are configured by hand have the ports below.
_FIRST = 10_000
#: Where Linux says which ports it gives to whoever asks for any, and what it says by default.
_ANY = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ANY_DEFAULT = range(32_768, 61_000)
_TRIES = 200
_chance = random.SystemRandom()


def free_port(taken: frozenset[int] | set[int] = frozenset()) -> int:
    """Return a loopback port that nobody listens on and that is not in `taken`.

    Another process may take it before it is used: whoever binds it must be able to fail. It is none of those that the
    kernel gives to whoever asks for any, a client's connection among them: a server that is away for a moment has to
    find its port again, for its clients know no other.
    """
    dynamic = _dynamic()
    for _ in range(_TRIES):
        port = _chance.randrange(_FIRST, max(dynamic.start, _FIRST + 1))
        if port not in taken and port not in dynamic and is_free(port):
            return port
    # no such port is left, or the kernel gives them all
    while True:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def _dynamic() -> range:
    """Return the ports that the kernel gives by itself."""
    try:
        first, last = map(int, _ANY.read_text().split())
    except (OSError, ValueError):
        return _ANY_DEFAULT
    return range(first, last + 1)


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
