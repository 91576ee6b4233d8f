"""Writes to Elasticsearch until all is written or refused, however long that takes."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, TransportError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from agents.sink.aliases import Aliases
from agents.sink.unavailable import UnavailableError
from pipeline.crash_points import here
from pipeline.index.bulk import Answer, Verdict, answer_of, chunks, reason_of
from pipeline.index.documents import Action

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")

#: s of the first and the longest back-off
FIRST_WAIT = 0.2
LONGEST_WAIT = 30.0
#: what of the answer is needed: it is as large as the request otherwise
_ANSWER = ["errors", "items.*.status", "items.*.error"]


async def persist(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Await `call` until it raises no UnavailableError, with back-offs that grow to LONGEST_WAIT; return its value."""
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(UnavailableError), wait=_wait, before_sleep=lambda state: _tell(state, what)
    )

    async def once() -> T:
        return await call()

    return await retrying(once)


def _wait(state: RetryCallState) -> float:
    longest: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(state.attempt_number - 1, 16))
    return longest * random.uniform(0.5, 1)  # noqa: S311  only spreads what retries together


def _tell(state: RetryCallState, what: str) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning(f"{what}: waiting for Elasticsearch", tries=state.attempt_number, error=str(error))


class Writer:
    """Sends writes in bulk requests of bounded size; safe to repeat, since each write is."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client
        self._aliases = Aliases(client)

    async def write(self, actions: Sequence[Action]) -> dict[int, str]:
        """Write all; return why for those that Elasticsearch will never take, by their place in `actions`.

        A document whose index can't have one of its aliases is written, and returned all the same.

        Returns only when each is written or refused. While Elasticsearch is away or overloaded it waits and sends
        those again that are left.
        """
        left = list(range(len(actions)))
        refused: dict[int, str] = {}

        async def send() -> None:
            nonlocal left
            later: dict[int, str] = {}
            for start, end in list(chunks([actions[number] for number in left])):
                part = left[start:end]
                for number, answer in zip(part, await self._bulk([actions[n] for n in part]), strict=True):
                    if answer.verdict is Verdict.REFUSED:
                        refused[number] = answer.reason
                    elif answer.verdict is Verdict.LATER:
                        later[number] = answer.reason
            left = list(later)
            if later:
                raise UnavailableError(f"{len(later)} writes: {next(iter(later.values()))}")

        await persist(send, "bulk")
        here("sink.written")
        named = {
            number: [(action.index, alias) for alias in action.aliases]
            for number, action in enumerate(actions)
            if action.aliases and number not in refused
        }
        if named:
            pairs = [pair for wanted in named.values() for pair in wanted]
            unnamed = await persist(lambda: self._aliases.give(pairs), "aliases")
            for number, wanted in named.items():
                if reasons := [unnamed[pair] for pair in wanted if pair in unnamed]:
                    refused[number] = "; ".join(reasons)
        return refused

    async def _bulk(self, actions: Sequence[Action]) -> list[Answer]:
        lines: list[Any] = [line for action in actions for line in action.lines()]
        try:
            answer = await self._client.bulk(operations=lines, filter_path=_ANSWER)
        except ApiError as error:
            if error.meta.status in (400, 413):
                return await self._apart(actions, error)
            return [Answer(Verdict.LATER, f"{error.meta.status} {_said(error)}")] * len(actions)
        except TransportError as error:
            return [Answer(Verdict.LATER, f"{type(error).__name__}: {error}")] * len(actions)
        items = answer.body.get("items", [])
        if len(items) != len(actions):
            return [Answer(Verdict.LATER, "the answer has another number of items")] * len(actions)
        return [answer_of(item) for item in items]

    async def _apart(self, actions: Sequence[Action], error: ApiError) -> list[Answer]:
        """Send the halves of a request that was refused as a whole: one document must not hold up the others."""
        if len(actions) == 1:
            return [Answer(Verdict.REFUSED, _said(error))]
        middle = len(actions) // 2
        return [*await self._bulk(actions[:middle]), *await self._bulk(actions[middle:])]


def _said(error: ApiError) -> str:
    body = error.body
    return reason_of(body.get("error") if isinstance(body, dict) else body)
