"""Disk needs as job specifications write them (spec §2.1)."""

import re

_USAGE = re.compile(r"(\d{1,12})\s?(KB|MB|GB)", re.ASCII)
#: MiB of one unit, as a fraction: units are powers of 1,024, so that a need is never understated.
_MIB = {"KB": (1, 1024), "MB": (1, 1), "GB": (1024, 1)}


def mib_of(text: str) -> int:
    """Return a disk usage in MiB, rounded up; raises ValueError for anything but `<int>(GB|MB|KB)`.

    >>> mib_of("2GB"), mib_of("10MB"), mib_of("1KB")
    (2048, 10, 1)
    """
    match = _USAGE.fullmatch(text)
    if match is None:
        raise ValueError(f"a disk usage is a whole number and GB, MB or KB, not {text[:40]!r}")
    times, parts = _MIB[match[2]]
    return -(-int(match[1]) * times // parts)
