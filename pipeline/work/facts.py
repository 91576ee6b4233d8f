"""What is known of the host an attempt runs on, under the names of the `facter` tool (spec §3.2)."""

import ipaddress
import os
import platform
import socket
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import psutil

from pipeline.work import machine

#: Addresses of a provider's own network, which are as public as a host there gets (RFC 6598).
_SHARED = ipaddress.ip_network("100.64.0.0/10")
#: What the system calls itself, and facter calls it.
_SYSTEMS = {
    "almalinux": "AlmaLinux",
    "alpine": "Alpine",
    "amzn": "Amazon",
    "centos": "CentOS",
    "debian": "Debian",
    "fedora": "Fedora",
    "ol": "OracleLinux",
    "rhel": "RedHat",
    "rocky": "Rocky",
    "sles": "SLES",
    "ubuntu": "Ubuntu",
}
_FAMILIES = {"debian": "Debian", "rhel": "RedHat", "fedora": "RedHat", "suse": "Suse", "alpine": "Linux"}
#: Sends nothing: only the kernel is asked which address would be used.
_ANYWHERE = ("192.0.2.1", 9)


def host_facts(cloud: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the facts of this host, those that change as they are now; `cloud` are those of its metadata service.

    Sizes ending in `_mb` are MiB. Asks no name server and no metadata service, and starts no program.
    """
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    up = max(0, int(time.time() - psutil.boot_time()))
    facts = {
        **_lasting(),
        "memorysize": size(memory.total),
        "memorytotal": size(memory.total),
        "memoryfree": size(memory.available),
        "memorysize_mb": round(memory.total / (1 << 20), 2),
        "memoryfree_mb": round(memory.available / (1 << 20), 2),
        "swapsize": size(swap.total),
        "swapfree": size(swap.free),
        "swapsize_mb": round(swap.total / (1 << 20), 2),
        "swapfree_mb": round(swap.free / (1 << 20), 2),
        "uptime": uptime(up),
        "uptime_seconds": up,
    }
    return with_cloud(facts, cloud or {})


def with_cloud(facts: Mapping[str, Any], cloud: Mapping[str, str]) -> dict[str, Any]:
    """Return facts with those of the cloud, and the names and addresses that follow from both (spec §3.2)."""
    address = str(facts["ipaddress"])
    public = cloud.get("ec2_public_ipv4")
    shared = ipaddress.ip_address(address) in _SHARED
    return {
        **facts,
        **cloud,
        "hysds_execute_node": cloud.get("ec2_public_hostname") or public or facts["fqdn"],
        "hysds_public_ip": address if shared or not public else public,
    }


def size(count: int) -> str:
    """Return bytes as facter shows them.

    >>> size(8 << 30)
    '8.00 GiB'
    """
    amount, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{count} bytes" if units[0] == "bytes" else f"{amount:.2f} {units[0]}"


def uptime(seconds: int) -> str:
    """Return a time as facter shows it.

    >>> uptime(3 * 86_400), uptime(86_401), uptime(7500)
    ('3 days', '1 day', '2:05 hours')
    """
    days = seconds // 86_400
    if days:
        return "1 day" if days == 1 else f"{days} days"
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d} hours"


@cache
def _lasting() -> dict[str, Any]:
    name = socket.gethostname()
    domain, eth0 = machine.domain_name(name), _address_of("eth0")
    release = _os_release()
    system = release.get("ID", "")
    like = (system, *release.get("ID_LIKE", "").split())
    guest = machine.virtual()
    return {
        "architecture": platform.machine(),
        "hardwaremodel": platform.machine(),
        "hostname": name.partition(".")[0],
        "fqdn": name if "." in name or not domain else f"{name}.{domain}",
        **({"domain": domain} if domain else {}),
        "ipaddress": _address(),
        **({"ipaddress_eth0": eth0} if eth0 else {}),
        "is_virtual": guest != "physical",
        "virtual": guest,
        "kernel": platform.system(),
        "kernelrelease": platform.release(),
        "operatingsystem": _SYSTEMS.get(system) or release.get("NAME", platform.system()),
        "operatingsystemrelease": release.get("VERSION_ID", platform.release()),
        "osfamily": next((_FAMILIES[one] for one in like if one in _FAMILIES), platform.system()),
        "physicalprocessorcount": machine.sockets(),
        "processorcount": os.cpu_count() or 1,
    }


def _address() -> str:
    """Return the address that this host shows to others, as far as it can say so itself."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.connect(_ANYWHERE)
            return str(asked.getsockname()[0])
    except OSError:
        # there is no way out of it
        return next(filter(None, map(_address_of, psutil.net_if_addrs())), "127.0.0.1")


def _address_of(interface: str) -> str:
    for found in psutil.net_if_addrs().get(interface, ()):
        if found.family == socket.AF_INET and not found.address.startswith("127."):
            return str(found.address)
    return ""


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
