"""What the ledger's tables stand on: changelogs that nobody made anew, and a local store that was built from them."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import structlog

from agents.admin import topic_ids
from agents.bus import CALL_TIMEOUT
from agents.orchestrator.row import Backing
from agents.patience import patiently
from pipeline.settings import Settings
from pipeline.topology import TABLES

log = structlog.stdlib.get_logger(__name__)

#: Beside the local store: the topic ids of the changelogs that it was built from.
_MARK = "changelogs.json"
#: Where Faust keeps the tables below its folder.
_STORE = "v1"
_CURE = "`jobstream ledger rebuild` writes the tables again from the inbox (docs/operations.md, Ledger tables lost)"


class LostTablesError(Exception):
    """The changelogs don't hold what the ledger has decided; the text says what to do."""


def changelog_ids(settings: Settings) -> dict[str, str]:
    """Return the broker's id of each table's changelog.

    Raises OSError where it can't be had within CALL_TIMEOUT, TopicError where one isn't there.
    """
    names = dict(zip(TABLES, (topic.name for topic in settings.topology.changelogs()), strict=True))
    ids = patiently(lambda: topic_ids(settings, names.values()), CALL_TIMEOUT)
    return {table: ids[name] for table, name in names.items()}


def check(partition: int, backing: Backing | None, ids: dict[str, str], *, empty: bool, decided: int) -> None:
    """Raise LostTablesError where recovered tables can't be what the ledger made of all below offset `decided`.

    `empty`: they don't even have a policy, which is the first that an owner writes. Tables of before `Backing` was
    written are believed.
    """
    if backing is None:
        if empty and decided > 0:
            raise LostTablesError(
                f"partition {partition}: the inbox is decided up to offset {decided}, but the tables are empty: "
                f"a changelog topic was emptied or made anew; {_CURE}"
            )
        return
    if not backing.whole:
        raise LostTablesError(
            f"partition {partition}: a rebuild of the tables was broken off; run `jobstream ledger rebuild` again"
        )
    others = [table for table, known in backing.changelogs.items() if ids.get(table) != known]
    if others:
        raise LostTablesError(
            f"partition {partition}: the changelog of {', '.join(others)} was made anew since the tables were written; "
            f"{_CURE}"
        )


def fit_local_store(folder: Path, ids: dict[str, str]) -> None:
    """Remove a local store that was built from other changelogs than these: it is only a copy, and of something else.

    One that doesn't say what it was built from is removed too. To be called before anything opens the store.
    """
    mark, store = folder / _MARK, folder / _STORE
    if _ids_in(mark) == ids:
        return
    if store.exists():
        log.warning("the local store is of other changelogs: it is removed, and read again", store=str(store))
        shutil.rmtree(store)
    folder.mkdir(parents=True, exist_ok=True)
    # only now: of a store that was removed in part nothing may be believed
    fresh = mark.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(ids))
    fresh.replace(mark)


def _ids_in(mark: Path) -> object:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(mark.read_text())
    return None
