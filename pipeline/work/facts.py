"""What is known of the host an attempt ran on, under the names of the `facter` tool (spec §3.2)."""

import os
import platform
import socket
import time
from functools import cache
from typing import Any

import psutil


@cache
def host_facts() -> dict[str, Any]:
    """Return the facts, asked for once a process; sizes in MiB. Asks no name server and no metadata service."""
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    address = _address()
    release = _os_release()
    return {
        "architecture": platform.machine(),
        "hardwaremodel": platform.machine(),
        "hostname": socket.gethostname().partition(".")[0],
        "fqdn": socket.gethostname(),
        "ipaddress": address,
        "kernel": platform.system(),
        "kernelrelease": platform.release(),
        "memorysize_mb": round(memory.total / (1 << 20), 2),
        "memoryfree_mb": round(memory.available / (1 << 20), 2),
        "swapsize_mb": round(swap.total / (1 << 20), 2),
        "swapfree_mb": round(swap.free / (1 << 20), 2),
        "operatingsystem": release.get("NAME", platform.system()),
        "operatingsystemrelease": release.get("VERSION_ID", platform.release()),
        "osfamily": release.get("ID_LIKE") or release.get("ID") or platform.system(),
        "physicalprocessorcount": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "processorcount": os.cpu_count() or 1,
        "uptime_seconds": int(time.time() - psutil.boot_time()),
        "hysds_execute_node": socket.gethostname(),
        "hysds_public_ip": address,
    }


def _address() -> str:
    for addresses in psutil.net_if_addrs().values():
        for found in addresses:
            if found.family == socket.AF_INET and not found.address.startswith("127."):
                return found.address
    return "127.0.0.1"


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
