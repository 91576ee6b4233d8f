"""HTTP and HTTPS: one conditional request asks and brings, and `If-Range` resumes only what has not changed.

Through fsspec's session, its event loop and the operator's options for it; but its own `get_file` knows neither
conditions nor ranges of a version.
"""

import asyncio
import re
import socket
from collections.abc import Coroutine, Iterator
from concurrent.futures import TimeoutError as NotYetError
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline.inputs.backends import Backends
from pipeline.inputs.errors import InputError, MissingError, RefusedError, RestartError, RetriableError
from pipeline.inputs.patience import Patience
from pipeline.inputs.policy import Policy
from pipeline.inputs.request import Input
from pipeline.inputs.source import Part
from pipeline.inputs.version import Version
from pipeline.masking import masked, without_secrets

T = TypeVar("T")
#: Bytes that are handed over at once.
_CHUNK = 1 << 20
#: Seconds between two looks at whether anybody still waits.
_LOOK = 0.25
#: Seconds that connecting may take.
_CONNECT = 15.0
_REDIRECTS = 10
#: 4xx that trying again may change.
_PASSING = (408, 421, 423, 425, 429)
#: Seconds that a server's Retry-After is heeded.
_LONGEST_WAIT = 300.0


class HttpClient:
    """The session that all HTTP inputs of a worker share, per beginning of URLs with options of its own."""

    def __init__(self, backends: Backends, policy: Policy, stall: float) -> None:
        """`stall` is the seconds that a server may be silent."""
        self._backends = backends
        self._policy = policy
        self.timeout = aiohttp.ClientTimeout(
            total=None, connect=stall, sock_connect=min(_CONNECT, stall), sock_read=stall
        )

    def session(self, one: Input) -> tuple[aiohttp.ClientSession, asyncio.AbstractEventLoop, dict[str, Any]]:
        """Return the session, the loop that it lives on, and the arguments of its requests."""
        fs, _, _ = self._backends.connect(one)
        if fs.get_client is not self._client:
            fs.get_client = self._client
        from fsspec.asyn import sync

        return sync(fs.loop, fs.set_session), fs.loop, dict(fs.kwargs)

    async def _client(self, loop: Any = None, **options: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(resolver=_Resolver(self._policy), limit=0)
        given = {"connector": connector, "trust_env": False, **options}
        return aiohttp.ClientSession(auto_decompress=False, middlewares=(self._guard,), **given)

    async def _guard(self, request: aiohttp.ClientRequest, handler: Any) -> Any:
        """Check each request, those that a redirect asks for too."""
        host, shown = request.url.host or "", masked(str(request.url))
        self._policy.check_host(host, shown)
        self._policy.check_addresses(host, [host], shown)
        return await handler(request)


class _Resolver(AbstractResolver):
    """Finds addresses by the system's resolver; an address that is not for jobs is none."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        self._policy.check_addresses(host, [one["host"] for one in found], host)
        return found

    async def close(self) -> None:
        await self._inner.close()


class HttpSource:
    """See Source."""

    def __init__(self, one: Input, client: HttpClient) -> None:
        self.shown = one.shown
        self._input = one
        self._client = client

    def open(self, known: Version | None, part: Part | None, patience: Patience) -> "HttpStream | None":
        """See Source."""
        session, loop, options = self._client.session(self._input)
        headers = {**options.pop("headers", {}), "Accept-Encoding": "identity", **_conditions(known, part)}
        request = session.get(
            _url(self._input.url),
            **{**options, "headers": headers, "max_redirects": _REDIRECTS, "timeout": self._client.timeout},
        )
        response = self.ask(loop, _entered(request), patience)
        stream: HttpStream | None = None
        try:
            stream = self._stream(response, loop, known, part)
        finally:
            if stream is None:
                loop.call_soon_threadsafe(response.close)
        return stream

    def close(self) -> None:
        """See Source: the session stays for others."""

    def ask(self, loop: asyncio.AbstractEventLoop, call: Coroutine[Any, Any, T], patience: Patience) -> T:
        """Return what a call on the loop does, waiting no longer than the patience lasts; raises InputError."""
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            while True:
                patience.check()
                try:
                    return future.result(_LOOK)
                except NotYetError:
                    if future.done():
                        raise
        except InputError:
            raise
        except Exception as error:
            raise self._translated(error) from error
        finally:
            future.cancel()

    def _stream(
        self, response: aiohttp.ClientResponse, loop: Any, known: Version | None, part: Part | None
    ) -> "HttpStream | None":
        status = response.status
        if status == 304 and known is not None:
            return None
        version = _version(response)
        if status == 200:
            return None if known is not None and version.same(known) else HttpStream(self, response, loop, version, 0)
        if status == 206 and part is not None:
            start, total = _range(response)
            version = version.model_copy(update={"size": total})
            if start == _resume_at(part) and version.same_bytes(part.version.model_copy(update={"size": total})):
                return HttpStream(self, response, loop, version, start)
            raise RestartError(f"{self.shown}: answered with another range than was asked for")
        if status == 416 and part is not None:
            raise RestartError(f"{self.shown}: it is shorter than the part that is here")
        said = f"{self.shown}: the server answered {status} {(response.reason or '')[:100]}".rstrip()
        if status >= 500 or status in _PASSING:
            raise RetriableError(said, _retry_after(response))
        raise MissingError(said)

    def _translated(self, error: BaseException) -> InputError:
        for one in (error, error.__cause__, error.__context__):
            if isinstance(one, InputError):
                return one
        said = without_secrets(f"{type(error).__name__}: {error}", self._input.url)[:1000]
        if isinstance(error, aiohttp.InvalidURL | aiohttp.TooManyRedirects | aiohttp.ClientConnectorCertificateError):
            return RefusedError(f"{self.shown}: {said}")
        return RetriableError(f"{self.shown}: {said.rstrip(': ')}")


class HttpStream:
    """See Stream."""

    def __init__(
        self,
        source: HttpSource,
        response: aiohttp.ClientResponse,
        loop: asyncio.AbstractEventLoop,
        version: Version,
        start: int,
    ) -> None:
        self.version = version
        self.start = start
        self._source = source
        self._response = response
        self._loop = loop

    def chunks(self, patience: Patience) -> Iterator[bytes]:
        """See Stream."""
        while data := self._source.ask(self._loop, _some(self._response), patience):
            yield data

    def confirm(self) -> None:
        """See Stream: one response is of one version, and `If-Range` made the part fit it."""

    def close(self) -> None:
        """See Stream."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._response.close)


async def _entered(request: Any) -> aiohttp.ClientResponse:
    response: aiohttp.ClientResponse = await request
    return response


async def _some(response: aiohttp.ClientResponse) -> bytes:
    """Return up to a chunk, at least a byte; nothing at the end. What came before an error comes before it."""
    gathered = bytearray()
    try:
        while len(gathered) < _CHUNK:
            data = await response.content.read(_CHUNK - len(gathered))
            if not data:
                break
            gathered += data
    except Exception:
        if not gathered:
            raise
    return bytes(gathered)


def _url(url: str) -> URL:
    """Take a URL as it is: one more quoting would break a signature."""
    return URL(url, encoded=url.isascii() and not any(sign in url for sign in ' "<>'))


def _conditions(known: Version | None, part: Part | None) -> dict[str, str]:
    made: dict[str, str] = {}
    if known is not None and known.etag:
        made["If-None-Match"] = known.etag
    elif known is not None and known.mtime:
        made["If-Modified-Since"] = known.mtime
    validator = part and ((part.version.etag or "") or part.version.mtime)
    if part is not None and part.size > 0 and validator and not validator.startswith("W/"):
        made |= {"Range": f"bytes={_resume_at(part)}-", "If-Range": validator}
    return made


def _resume_at(part: Part) -> int:
    """Return which byte to ask for first: of a whole part the last, since a range of no bytes can't be asked for."""
    return part.size if part.version.size is None else max(0, min(part.size, part.version.size - 1))


def _version(response: aiohttp.ClientResponse) -> Version:
    size = response.headers.get("Content-Length", "")
    return Version(
        size=int(size) if size.isdecimal() else None,
        etag=response.headers.get("ETag"),
        mtime=response.headers.get("Last-Modified"),
    )


def _range(response: aiohttp.ClientResponse) -> tuple[int, int | None]:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    said = response.headers.get("Retry-After", "")
    return min(float(said), _LONGEST_WAIT) if said.isdecimal() else None
