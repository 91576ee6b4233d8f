"""A Confluent-compatible schema registry, as the codec and `jobstream schemas` need one; each call has a time-out.

confluent-kafka's own client is left out: it would bring five more packages for these few calls.
"""

import json
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import quote, unquote

import urllib3
from urllib3.util import Retry, Timeout, make_headers, parse_url

from pipeline.codec import Codec, DecodeError
from pipeline.settings import Settings

_TYPE = "application/vnd.schemaregistry.v1+json"
#: Seconds that an id counts as unknown: a flood of one bad id must not become a flood of calls.
_UNKNOWN_FOR = 10.0
_UNKNOWN_KEPT = 1000
#: A missing permission is the operator's to cure: hold, rather than blame the record.
_FORBIDDEN = (401, 403)


class RegistryError(ValueError):
    """The registry answered, and refused the schema: incompatible with the earlier ones, or not allowed there."""


class ConfluentRegistry:
    """Calls a registry's Confluent API; a user and password in the URL are sent as basic authentication.

    Every call takes about `timeout` seconds at most, one new connection included; OSError where the registry can't
    be reached, doesn't answer in time or has a failure of its own.
    """

    def __init__(self, url: str, timeout: float) -> None:
        parts = parse_url(url)
        self._base = parts._replace(auth=None).url.rstrip("/")
        headers = {"Accept": _TYPE} | (make_headers(basic_auth=unquote(parts.auth)) if parts.auth else {})
        self._http = urllib3.PoolManager(
            headers=headers,
            timeout=Timeout(total=timeout / 2),
            retries=Retry(1, redirect=0, backoff_factor=0.1),
        )
        self._unknown: OrderedDict[int, float] = OrderedDict()

    def schema_of(self, schema_id: int) -> dict[str, Any] | None:
        """Return the schema with this id, None where the registry knows none; DecodeError where it isn't Avro."""
        if time.monotonic() < self._unknown.get(schema_id, 0.0):
            return None
        status, answer = self._call("GET", f"/schemas/ids/{schema_id}")
        if status == 404:
            self._remember_unknown(schema_id)
            return None
        if status in _FORBIDDEN:
            raise OSError(_refusal(status, answer, f"schema id {schema_id}"))
        if status != 200:
            raise DecodeError(_refusal(status, answer, f"schema id {schema_id}"))
        kind = answer.get("schemaType", "AVRO")
        if kind != "AVRO" or answer.get("references"):
            raise DecodeError(f"schema id {schema_id} is {kind} or refers to others, and plain Avro is needed")
        try:
            schema = json.loads(answer["schema"])
        except (KeyError, TypeError, ValueError) as error:
            raise DecodeError(f"schema id {schema_id} is no Avro schema: {error}") from error
        if not isinstance(schema, dict):
            raise DecodeError(f"schema id {schema_id} is no record")
        return schema

    def id_of(self, subject: str, schema: dict[str, Any]) -> int:
        """Return the schema's id under the subject, registering it where that is new; RegistryError if refused."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        status, answer = self._call("POST", path, _body(schema))
        if status in _FORBIDDEN:
            raise OSError(_refusal(status, answer, f"subject {subject}"))
        if status != 200 or not isinstance(answer.get("id"), int):
            raise RegistryError(_refusal(status, answer, f"subject {subject}"))
        return int(answer["id"])

    def version_of(self, subject: str, schema: dict[str, Any]) -> int | None:
        """Return which version of the subject this very schema is, None where it isn't registered there."""
        status, answer = self._asked("POST", f"/subjects/{quote(subject, safe='')}", subject, _body(schema))
        return None if status == 404 else int(answer["version"])

    def misfits(self, subject: str, schema: dict[str, Any]) -> list[str]:
        """Return what the registry's rule for the subject has against the schema; nothing where it may be registered.

        A subject without versions takes every schema.
        """
        path = f"/compatibility/subjects/{quote(subject, safe='')}/versions/latest?verbose=true"
        status, answer = self._asked("POST", path, subject, _body(schema))
        if status == 404 or answer.get("is_compatible"):
            return []
        told = answer.get("messages") or [answer.get("reason") or "it can't read what the latest one wrote"]
        return [str(one)[:300] for one in told]

    def rule(self, subject: str) -> str:
        """Return how compatible the subject's versions must be: its own rule, else that of all."""
        status, answer = self._asked("GET", f"/config/{quote(subject, safe='')}", subject)
        if status == 404:
            status, answer = self._asked("GET", "/config", subject)
        return str(answer.get("compatibilityLevel") or answer.get("compatibility") or "NONE")

    def set_rule(self, subject: str, rule: str) -> None:
        """Set how compatible the subject's versions must be."""
        self._asked("PUT", f"/config/{quote(subject, safe='')}", subject, {"compatibility": rule})

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def _asked(
        self, method: str, path: str, subject: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Return status (200 or 404) and answer; OSError where rights are missing, RegistryError for other refusals."""
        status, answer = self._call(method, path, body)
        if status in _FORBIDDEN:
            raise OSError(_refusal(status, answer, f"subject {subject}"))
        if status not in (200, 404):
            raise RegistryError(_refusal(status, answer, f"subject {subject}"))
        return status, answer

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        headers = dict(self._http.headers) | ({"Content-Type": _TYPE} if body is not None else {})
        data = None if body is None else json.dumps(body).encode()
        try:
            response = self._http.request(method, self._base + path, body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"the schema registry can't be reached: {error}") from error
        # 429 and what goes wrong inside the registry is cured by waiting, like its absence
        if response.status >= 500 or response.status == 429:
            raise OSError(f"the schema registry answers {response.status}")
        try:
            answer = json.loads(response.data)
        except ValueError as error:
            raise OSError(f"the schema registry answers {response.status} without JSON") from error
        return response.status, answer if isinstance(answer, dict) else {}

    def _remember_unknown(self, schema_id: int) -> None:
        self._unknown[schema_id] = time.monotonic() + _UNKNOWN_FOR
        while len(self._unknown) > _UNKNOWN_KEPT:
            self._unknown.popitem(last=False)


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": json.dumps(schema), "schemaType": "AVRO"}


def _refusal(status: int, answer: dict[str, Any], what: str) -> str:
    return f"the schema registry answers {status} for {what}: {str(answer.get('message', ''))[:300]}"


def codec(settings: Settings) -> Codec:
    """Return the codec that the settings ask for: with their registry, or single-object encoding.

    Subjects are called after topics, as other clients have it; a schema of several topics is written by the first's.
    """
    url = settings.kafka.registry_url
    if url is None:
        return Codec()
    subjects = {schema: subject for subject, schema in reversed(settings.topology.subjects())}
    return Codec(ConfluentRegistry(url, settings.kafka.registry_timeout), subjects)
