"""Writes documents of datasets that no fact tells of, all or none."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from elasticsearch import ApiError, Elasticsearch, TransportError

from agents.elastic import client_options
from agents.index_reader import IndexUnavailableError
from pipeline.index.bulk import Verdict, alias_actions, answer_of, chunks, reason_of
from pipeline.index.documents import Action, dataset_action
from pipeline.index.names import DATASETS
from pipeline.settings import Settings


class IndexRefusedError(Exception):
    """The index will not take a document; the text says which and why."""


class DatasetIndex:
    """A client of the index; close it, or use it as a context manager. Every method raises IndexUnavailableError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.sink
        self._client = Elasticsearch(**client_options(settings.sink))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._client.close()

    def check(self) -> None:
        """Raise IndexUnavailableError unless the sink has prepared the index: the first document makes its mapping."""
        name = f"{self._settings.index_prefix}{DATASETS}"
        try:
            prepared = bool(self._client.indices.exists_index_template(name=name))
        except (ApiError, TransportError) as error:
            raise self._unavailable(error) from error
        if not prepared:
            raise IndexUnavailableError(f"Elasticsearch has no template {name}: the sink has not run yet")

    def put(self, documents: Sequence[Mapping[str, Any]], job_id: str, attempt: int, time_ms: int) -> "Written":
        """Write all; what was there can be put back. Raises IndexRefusedError with everything as before."""
        prefix = self._settings.index_prefix
        actions = [dataset_action(one, job_id, attempt, time_ms, 0, prefix) for one in documents]
        written = Written(self, actions, self._before(actions))
        try:
            for start, end in chunks(actions):
                self._write([line for action in actions[start:end] for line in action.lines()], actions[start:end])
            self._name(actions)
        except (IndexRefusedError, IndexUnavailableError) as error:
            written.undo_for(error)
            raise
        return written

    def _before(self, actions: Sequence[Action]) -> list[Mapping[str, Any] | None]:
        try:
            answer = self._client.mget(docs=[{"_index": action.index, "_id": action.id} for action in actions])
        except (ApiError, TransportError) as error:
            raise self._unavailable(error) from error
        return [one if one.get("found") else None for one in answer["docs"]]

    def _write(self, lines: Sequence[Any], actions: Sequence[Action]) -> None:
        try:
            answer = self._client.bulk(operations=list(lines))
        except (ApiError, TransportError) as error:
            raise self._unavailable(error) from error
        for item, action in zip(answer["items"], actions, strict=True):
            said = answer_of(item)
            ((_, result),) = item.items()
            if said.verdict is Verdict.REFUSED:
                raise IndexRefusedError(f"{action.index}/{action.id}: {said.reason}")
            if said.verdict is Verdict.LATER:
                raise IndexUnavailableError(f"{action.index}/{action.id}: {said.reason}")
            if result.get("status") == 409:
                raise IndexRefusedError(f"{action.index}/{action.id}: the index holds a newer document")

    def _name(self, actions: Sequence[Action]) -> None:
        """Give the indices their aliases. One that is refused refuses all; those that were given stay."""
        pairs = list(dict.fromkeys((action.index, alias) for action in actions for alias in action.aliases))
        if not pairs:
            return
        try:
            self._client.indices.update_aliases(actions=alias_actions(pairs))
        except ApiError as error:
            if error.meta.status in (400, 404):
                said = reason_of(error.body.get("error") if isinstance(error.body, dict) else error.body)
                raise IndexRefusedError(f"aliases {', '.join(alias for _, alias in pairs)}: {said}") from error
            raise self._unavailable(error) from error
        except TransportError as error:
            raise self._unavailable(error) from error

    def put_back(self, actions: Sequence[Action], before: Sequence[Mapping[str, Any] | None]) -> None:
        """Make each document what it was, if it is still the one that was written."""
        lines: list[Any] = []
        for action, old in zip(actions, before, strict=True):
            version = (action.version or 0) + 1
            target = {"_index": action.index, "_id": action.id, "version": version, "version_type": "external_gte"}
            lines += [{"delete": target}] if old is None else [{"index": target}, old["_source"]]
        try:
            self._client.bulk(operations=lines)
        except (ApiError, TransportError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: ApiError | TransportError) -> IndexUnavailableError:
        address = self._settings.elasticsearch.rpartition("@")[2]
        if isinstance(error, ApiError):
            said = reason_of(error.body.get("error") if isinstance(error.body, dict) else error.body)
            return IndexUnavailableError(f"Elasticsearch at {address} refuses: {error.meta.status} {said}")
        return IndexUnavailableError(f"Elasticsearch at {address} can't be reached: {error.message}")


class Written:
    """Documents that were written, and those in whose place they are."""

    def __init__(
        self, index: DatasetIndex, actions: Sequence[Action], before: Sequence[Mapping[str, Any] | None]
    ) -> None:
        self._index = index
        self._actions = actions
        self._before = before

    def undo_for(self, error: BaseException) -> None:
        """Put back what was there; where that fails, `error` gets a note of it. Never raises IndexUnavailableError."""
        try:
            self._index.put_back(self._actions, self._before)
        except IndexUnavailableError as failure:
            error.add_note(f"documents may be left in the index: {failure}")
