"""Admin clients, which are made once and never taken apart.

In librdkafka 2.16 an admin client that has asked a broker which was only just starting, or just ending, may keep one of
its threads for ever; whoever destroys it, the garbage collector included, waits for that thread without end. So there
is one client for each set of settings, and it stays until the process is gone.
"""

import ctypes
import json
import threading
from typing import Any

from confluent_kafka.admin import AdminClient

_clients: dict[str, AdminClient] = {}
_lock = threading.Lock()


def admin_client(config: dict[str, Any]) -> AdminClient:
    """Return the process's one client with this configuration, which is of plain values alone."""
    key = json.dumps(config, sort_keys=True)
    with _lock:
        if key not in _clients:
            made = AdminClient({**config, "log_level": 0})
            # one reference that nobody gives back: not even the interpreter's end takes the client apart
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
            _clients[key] = made
        return _clients[key]


def forget(client: AdminClient) -> None:
    """Have the next one who asks get a new client: this one no longer answers."""
    with _lock:
        for key in [key for key, known in _clients.items() if known is client]:
            del _clients[key]
