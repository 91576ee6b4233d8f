"""What jobs may ask for. A URL comes from a message, and the worker can reach more than the job's sender may see."""

import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.inputs.errors import RefusedError
from pipeline.inputs.request import Input

SCHEMES = ("file", "http", "https", "s3", "gs", "gcs", "abfs", "abfss", "ftp", "sftp")
#: Schemes of which the URL's host is a machine that the worker connects to.
DIRECT = ("http", "https", "ftp", "sftp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`hosts` are patterns of host names (of buckets, for object stores), `roots` the folders of local files.

    Addresses of the worker's own machine, and link-local ones (which is where clouds hand out credentials), are
    refused unless a pattern other than `*` names the host.
    """

    schemes: tuple[str, ...] = SCHEMES
    hosts: tuple[str, ...] = ("*",)
    roots: tuple[Path, ...] = ()

    def check(self, one: Input) -> None:
        """Raise RefusedError unless the input may be brought."""
        if one.scheme not in self.schemes:
            raise RefusedError(
                f"{one.shown}: scheme {one.scheme!r} is not allowed (these are: {', '.join(self.schemes)})"
            )
        if one.scheme == "file":
            self.local(one)
            return
        try:
            host = urlsplit(one.url).hostname
        except ValueError as error:
            raise RefusedError(f"{one.shown}: {error}") from error
        if not host:
            raise RefusedError(f"{one.shown}: it names no host")
        self.check_host(host, one.shown)
        if one.scheme in DIRECT:
            self.check_addresses(host, [host], one.shown)

    def local(self, one: Input) -> Path:
        """Return a local input's path, resolved; raises RefusedError unless it is in an allowed folder."""
        text = one.url
        if "://" in text:
            text = _path_of(one)
        try:
            path = Path(text).resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:
            # Which paths there are is nobody's business: outside, the answer is the same as for one that isn't allowed.
            path = _furthest(text)
            if self._within(path):
                raise RefusedError(f"{one.shown}: {getattr(error, 'strerror', None) or error}") from error
        if not Path(text).is_absolute() or not self._within(path):
            allowed = ", ".join(map(str, self.roots)) or "none"
            raise RefusedError(f"{one.shown}: not in a folder that inputs may come from (these are: {allowed})")
        if not (path.is_file() or path.is_dir()):
            # a pipe would never end, a device neither
            raise RefusedError(f"{one.shown}: neither a file nor a folder")
        return path

    def check_host(self, host: str, shown: str) -> None:
        """Raise RefusedError unless some pattern names the host."""
        if not any(fnmatchcase(host.lower(), pattern.lower()) for pattern in self.hosts):
            raise RefusedError(f"{shown}: host {host} is not allowed")

    def check_addresses(self, host: str, addresses: Iterable[str], shown: str) -> None:
        """Raise RefusedError if one of the addresses that a host's name leads to is not for jobs."""
        if any(pattern != "*" and fnmatchcase(host.lower(), pattern.lower()) for pattern in self.hosts):
            return
        for address in addresses:
            try:
                found = ipaddress.ip_address(address.partition("%")[0])
            except ValueError:
                continue
            mapped = getattr(found, "ipv4_mapped", None) or found
            if mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast:
                raise RefusedError(f"{shown}: {host} is an address of this machine or link-local ({address})")

    def check_resolved(self, one: Input) -> None:
        """Ask for the addresses of an input's host and check them; raises RefusedError."""
        host = urlsplit(one.url).hostname or ""
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
        except OSError:
            return
        self.check_addresses(host, found, one.shown)

    def _within(self, path: Path) -> bool:
        return any(path.is_relative_to(root.resolve()) for root in self.roots)


def _path_of(one: Input) -> str:
    """Return the path of a `file://` URL; raises RefusedError where it could be read in two ways."""
    host, slash, path = one.url.partition("://")[2].partition("/")
    if host.lower() not in ("", "localhost"):
        raise RefusedError(f"{one.shown}: a file of another machine")
    if "?" in path or "#" in path:
        raise RefusedError(f"{one.shown}: in a file's URL, %3F stands for ? and %23 for #")
    return unquote(slash + path, errors="surrogateescape")


def _furthest(text: str) -> Path:
    """Return where a path that can't be resolved leads to, as far as that can be said."""
    try:
        return Path(os.path.realpath(text))
    except (OSError, ValueError):
        return Path("/")
