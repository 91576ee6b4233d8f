"""Further names of indices, which products and rules ask for (spec §4.6)."""

import time
from collections.abc import Mapping, Sequence

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from agents.sink.unavailable import UnavailableError
from pipeline.index.bulk import Pair, alias_actions, reason_of

#: Seconds until an alias is given again to an index that has it: somebody may have made that anew.
_GOOD_FOR = 600.0
#: Aliases that are remembered as given; jobs choose their names.
_MOST = 10_000
#: What the alias or the index is to blame for.
_REFUSED = (400, 404)


class Aliases:
    """Gives indices their aliases; giving one again changes nothing."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client
        self._given: dict[Pair, float] = {}

    async def give(self, pairs: Sequence[Pair]) -> Mapping[Pair, str]:
        """Give all; return why for those that Elasticsearch will never take. Raises UnavailableError."""
        now = time.monotonic()
        new = [pair for pair in dict.fromkeys(pairs) if now - self._given.get(pair, -_GOOD_FOR) >= _GOOD_FOR]
        refused = await self._tried(new) if new else {}
        if len(self._given) + len(new) > _MOST:
            # to give some again costs a request, and no memory
            self._given.clear()
        self._given.update({pair: now for pair in new if pair not in refused})
        return refused

    async def _tried(self, pairs: Sequence[Pair]) -> dict[Pair, str]:
        """Give several in one request, which Elasticsearch does or refuses as a whole: then each in one of its own."""
        try:
            await self._client.indices.update_aliases(actions=alias_actions(pairs))
        except ApiError as error:
            said = reason_of(error.body.get("error") if isinstance(error.body, dict) else error.body)
            if error.meta.status not in _REFUSED:
                raise UnavailableError(f"aliases: {error.meta.status} {said}") from error
            if len(pairs) == 1:
                return {pairs[0]: f"alias {pairs[0][1]}: {said}"}
            refused: dict[Pair, str] = {}
            for pair in pairs:
                refused |= await self._tried([pair])
            return refused
        except TransportError as error:
            raise UnavailableError(f"aliases: {type(error).__name__}: {error}") from error
        return {}
