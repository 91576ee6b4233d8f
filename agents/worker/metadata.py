"""The metadata service of Amazon EC2, asked in the way that needs a token (IMDSv2).

Only the paths below are ever asked for, and nothing under `iam/`: credentials are none of a worker's business. No
proxy is used, no redirect followed, nothing of another host asked; an answer is short, or it is none.
"""

import ipaddress
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from socket import SHUT_RDWR, socket
from urllib.parse import urlsplit

import orjson

log = logging.getLogger(__name__)

#: Where the service is on every machine of EC2's.
USUAL = "http://169.254.169.254"
#: Seconds that connecting, and then an answer, may take.
PATIENCE = 1.0
#: Seconds that looking up all facts may take, beyond the last request.
LOOK_UP = 4.0
#: Seconds that a token is asked for, and after which it is not used any more.
_TTL, _FRESH = 300, 240.0
#: Bytes of an answer.
_LIMIT = 2048
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")


class Item(StrEnum):
    """All that is ever asked for, below `/latest/meta-data/`."""

    INSTANCE_ID = "instance-id"
    INSTANCE_TYPE = "instance-type"
    ZONE = "placement/availability-zone"
    PUBLIC_HOSTNAME = "public-hostname"
    PUBLIC_IPV4 = "public-ipv4"
    LIFE_CYCLE = "instance-life-cycle"
    INTERRUPTION = "spot/instance-action"


class MetadataError(Exception):
    """The service doesn't answer as it should; the text says how."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """The machine will go: what will be done to it, and when, as the service says."""

    action: str
    time: str

    def __str__(self) -> str:
        return f"the machine is a spot instance that will {self.action} at {self.time}"


class Metadata:
    """A client; one call at a time. Each call blocks for a few seconds at most."""

    def __init__(self, base_url: str, patience: float = PATIENCE) -> None:
        """`base_url` is the service's, of which only host and port count; `patience` is for each request's halves."""
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._patience = patience
        self._token = ""
        self._since = 0.0

    def get(self, item: Item) -> str | None:
        """Return a value, None where the machine has none. Raises MetadataError."""
        status, body = self._asked(item)
        if status == 401:
            # it was made anew, or has forgotten its tokens
            self._token = ""
            status, body = self._asked(item)
        if status == 404:
            return None
        if status != 200 or len(body) > _LIMIT:
            raise MetadataError(f"{item}: status {status}, {len(body)} bytes")
        try:
            return body.decode("ascii").strip()
        except UnicodeDecodeError as error:
            raise MetadataError(f"{item}: not a text") from error

    def interruption(self) -> Interruption | None:
        """Return whether the machine will be taken away. Raises MetadataError, also for what is no notice."""
        text = self.get(Item.INTERRUPTION)
        if text is None:
            return None
        try:
            told = orjson.loads(text)
            action, at = told["action"], told["time"]
            datetime.fromisoformat(at)
        except (ValueError, TypeError, KeyError) as error:
            raise MetadataError(f"{Item.INTERRUPTION}: no notice: {text[:100]!r}") from error
        if action not in ("terminate", "stop", "hibernate"):
            raise MetadataError(f"{Item.INTERRUPTION}: no action of which anything is known: {str(action)[:100]!r}")
        return Interruption(action, at)

    def _asked(self, item: Item) -> tuple[int, bytes]:
        if not self._token or time.monotonic() - self._since > _FRESH:
            self._renew()
        headers = {"X-aws-ec2-metadata-token": self._token}
        return self._exchange("GET", f"/latest/meta-data/{item}", headers)

    def _renew(self) -> None:
        now = time.monotonic()
        status, body = self._exchange("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TTL)})
        token = body.decode("latin-1")
        if status != 200 or not _TOKEN.fullmatch(token):
            raise MetadataError(f"no token: status {status}, {len(body)} bytes")
        self._token, self._since = token, now

    def _exchange(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = HTTPConnection(self._host, self._port, timeout=self._patience)
        try:
            connection.connect()
            with _in_time(connection.sock, self._patience):
                connection.request(method, path, headers=dict(headers))
                answer = connection.getresponse()
                body = answer.read(_LIMIT + 1)
            if answer.length and len(body) <= _LIMIT:
                raise MetadataError(f"{method} {path}: the answer ends early")
            return answer.status, body
        except (OSError, HTTPException, ValueError) as error:
            raise MetadataError(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            connection.close()


def facts(service: Metadata) -> dict[str, str]:
    """Return what the service says of the machine, under the names of facts; what isn't in its form is left out.

    Raises MetadataError where it doesn't answer.
    """
    found: dict[str, str] = {}
    end = time.monotonic() + LOOK_UP
    for name, (item, fits) in _FACTS.items():
        if time.monotonic() > end:
            raise MetadataError(f"not all was answered within {LOOK_UP:g} s")
        value = service.get(item)
        if not value:
            continue
        if fits(value):
            found[name] = value
        else:
            log.warning("metadata service: %s is not what it should be: %r", item, value[:100])
    return found


@contextmanager
def _in_time(connection: socket, seconds: float) -> Iterator[None]:
    """Cut a connection that is still used after that time: each drop of an answer would be in time by itself.

    Raises TimeoutError then, for what was cut can look whole.
    """
    over = threading.Event()

    def cut() -> None:
        over.set()
        with suppress(OSError):
            connection.shutdown(SHUT_RDWR)

    late = threading.Timer(seconds, cut)
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()
    if over.is_set():
        raise TimeoutError(f"not answered within {seconds:g} s")


def _like(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(value) is not None


def _is_ipv4(value: str) -> bool:
    try:
        return ipaddress.IPv4Address(value).is_global
    except ValueError:
        return False


#: Names of facts, where they come from, and what they look like.
_FACTS: Mapping[str, tuple[Item, Callable[[str], bool]]] = {
    "ec2_instance_id": (Item.INSTANCE_ID, _like(r"i-[0-9a-f]{8,32}")),
    "ec2_instance_type": (Item.INSTANCE_TYPE, _like(r"[a-z0-9][a-z0-9.-]{1,40}")),
    "ec2_placement_availability_zone": (Item.ZONE, _like(r"[a-z]{2}[a-z0-9-]{2,40}")),
    "ec2_public_hostname": (Item.PUBLIC_HOSTNAME, _like(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")),
    "ec2_public_ipv4": (Item.PUBLIC_IPV4, _is_ipv4),
    "ec2_instance_life_cycle": (Item.LIFE_CYCLE, _like(r"[a-z-]{1,40}")),
}
