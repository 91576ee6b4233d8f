"""What every store promises, as tests; a store's own test module makes a class of it and says how it is looked at."""

import os
import shutil
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.datasets.errors import Collision, DatasetError, Fenced, InvalidProduct, PublishRefused
from pipeline.datasets.marker import Marker
from pipeline.datasets.store import Store, never
from pipeline.datasets.tree import JobTree
from tests.unit.datasets_support import make_product, marker

#: Far more steps than any publication has.
_MOST_STEPS = 200
_RACERS = 5


class Shop(ABC):
    """A store from outside: what its readers see, and what is left behind."""

    @abstractmethod
    def open(self, on_step: Callable[[str], None] = lambda _step: None) -> Store:
        """Return the store, as another process would have it."""

    @abstractmethod
    def visible(self) -> dict[str, str]:
        """Return the content of the data file of each product that can be seen; fails for one that isn't whole."""

    @abstractmethod
    def staged(self) -> list[str]:
        """Return job_id/attempt of what is kept and not seen."""

    @abstractmethod
    def put_stranger(self, location: str) -> Callable[[], bool]:
        """Put something there that is no product; return what says whether it is still there."""


def publish(shop: Shop, job: Path, content: str, *names: str, force: bool = False, **who: object) -> None:
    """Publish products `names` (default A), all with `content`, at their names."""
    shutil.rmtree(job, ignore_errors=True)
    with shop.open().begin(marker(**who), force) as publication:  # type: ignore[arg-type]
        for name in names or ("A",):
            make_product(job, name, content)
            publication.stage(JobTree(job), (name,), name, {})
        publication.commit()


def kill_at(shop: Shop, job: Path, number: int) -> bool:
    """Publish A, and B over another job's, as attempt 1, killed at a step; return False if it has fewer steps."""
    publish(shop, job, "theirs", "B", job_id="job-b")
    shutil.rmtree(job)
    for name in ("A", "B"):
        make_product(job, name, "one")
    pid = os.fork()
    if pid == 0:
        try:
            _run_and_die(shop, job, number)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def _run_and_die(shop: Shop, job: Path, number: int) -> None:
    left = [number]

    def die(_step: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with shop.open(die).begin(marker(attempt=1), force=True) as publication:
        for name in ("A", "B"):
            publication.stage(JobTree(job), (name,), name, {})
        publication.commit()
    os._exit(0)


class StoreContract:
    """Inherit it where the fixture `shop` gives the store, and `new_shop` empty ones."""

    def test_nothing_is_visible_before_the_commit_and_all_after_it(self, shop: Shop, job: Path) -> None:
        make_product(job, "A")
        store = shop.open()
        with store.begin(marker()) as publication:
            publication.stage(JobTree(job), ("A",), "x/y/A", {"A.context.json": b"{}"})
            assert shop.visible() == {}
            assert store.owner("x/y/A") is None
            publication.commit()
        assert shop.visible() == {"x/y/A": "data"}
        assert store.owner("x/y/A") == marker()
        assert shop.staged() == []

    def test_leaving_without_a_commit_leaves_nothing(self, shop: Shop, job: Path) -> None:
        make_product(job, "A")
        with shop.open().begin(marker()) as publication:
            publication.stage(JobTree(job), ("A",), "A", {})
            assert shop.staged() == ["job-a/1"]
        assert (shop.visible(), shop.staged()) == ({}, [])

    def test_a_higher_attempt_replaces_a_lower_one(self, shop: Shop, job: Path) -> None:
        publish(shop, job, "one", attempt=1)
        publish(shop, job, "two", attempt=2)
        assert (shop.visible(), shop.staged()) == ({"A": "two"}, [])

    def test_a_lower_attempt_is_fenced_even_with_force(self, shop: Shop, job: Path) -> None:
        publish(shop, job, "two", attempt=2)
        for force in (False, True):
            with pytest.raises(Fenced, match="attempt 2"):
                publish(shop, job, "one", attempt=1, force=force)
        assert shop.visible() == {"A": "two"}

    def test_another_jobs_product_is_refused_and_its_owner_named(self, shop: Shop, job: Path) -> None:
        publish(shop, job, "theirs", job_id="job-b", attempt=7)
        with pytest.raises(Collision, match="job-b") as caught:
            publish(shop, job, "ours")
        assert caught.value.owner == "job-b"
        assert (shop.visible(), shop.staged()) == ({"A": "theirs"}, [])

    def test_force_replaces_another_jobs_product(self, shop: Shop, job: Path) -> None:
        publish(shop, job, "theirs", job_id="job-b")
        publish(shop, job, "ours", force=True)
        assert (shop.visible(), shop.staged()) == ({"A": "ours"}, [])

    @pytest.mark.parametrize("orphan", [True, False])
    def test_without_force_only_an_orphan_is_replaced(self, shop: Shop, job: Path, orphan: bool) -> None:
        publish(shop, job, "theirs", job_id="job-b")
        asked: list[tuple[str, int]] = []

        def is_orphan(theirs: Marker) -> bool:
            asked.append((theirs.job_id, theirs.attempt))
            return orphan

        make_product(job, "C")
        with shop.open().begin(marker(), orphaned=is_orphan) as publication:
            publication.stage(JobTree(job), ("C",), "A", {})
            if orphan:
                publication.commit()
            else:
                with pytest.raises(Collision):
                    publication.commit()
        assert shop.visible() == {"A": "data" if orphan else "theirs"}
        assert asked == [("job-b", 1)]

    @pytest.mark.parametrize("force", [False, True])
    def test_what_is_no_product_is_never_replaced(self, shop: Shop, job: Path, force: bool) -> None:
        is_there = shop.put_stranger("A")
        with pytest.raises(Collision, match="not a published product"):
            publish(shop, job, "ours", force=force)
        assert is_there()

    def test_no_product_is_put_inside_another(self, shop: Shop, job: Path) -> None:
        publish(shop, job, "theirs", job_id="job-b")
        make_product(job, "B")
        with shop.open().begin(marker()) as publication:
            publication.stage(JobTree(job), ("B",), "A/inner/B", {})
            with pytest.raises(Collision, match="job-b"):
                publication.commit()

    def test_a_failure_takes_back_all_products_and_what_they_replaced(self, shop: Shop, job: Path) -> None:
        publish(shop, job, "theirs", "C", job_id="job-b")
        publish(shop, job, "lower", "B", attempt=1)
        with pytest.raises(Collision):
            publish(shop, job, "upper", "A", "B", "C", attempt=2)
        assert (shop.visible(), shop.staged()) == ({"B": "lower", "C": "theirs"}, [])

    def test_what_fails_when_all_is_shown_takes_all_back(self, shop: Shop, job: Path) -> None:
        publish(shop, job, "theirs", "B", job_id="job-b")
        seen = []

        def fail() -> None:
            seen.append(shop.visible())
            raise OSError("no index")

        with shop.open().begin(marker(), force=True) as publication:
            for name in ("A", "C"):
                make_product(job, name, "ours")
                publication.stage(JobTree(job), (name,), {"C": "B"}.get(name, name), {})
            with pytest.raises(OSError, match="no index"):
                publication.commit(fail)
        assert seen == [{"A": "ours", "B": "ours"}]
        assert (shop.visible(), shop.staged()) == ({"B": "theirs"}, [])

    def test_two_products_of_a_job_can_not_want_one_place(self, shop: Shop, job: Path) -> None:
        make_product(job, "A")
        with shop.open().begin(marker()) as publication:
            publication.stage(JobTree(job), ("A",), "same/place", {})
            for place in ("same/place", "same/place/inner", "same"):
                with pytest.raises(Collision, match="two products of this job"):
                    publication.stage(JobTree(job), ("A",), place, {})

    @pytest.mark.parametrize(
        "location", ["", "/", "..", "../x", "a/../../x", "a//b", "./a", "/etc/x", "gs://b/x", "a\0b"]
    )
    def test_a_location_stays_inside_the_store(self, shop: Shop, location: str) -> None:
        with pytest.raises(InvalidProduct, match="location"):
            shop.open().url(location)

    def test_a_location_may_be_given_as_the_url(self, shop: Shop) -> None:
        store = shop.open()
        assert store.url(store.url("x/y")) == store.url("x/y")

    def test_a_link_inside_the_job_becomes_a_copy_and_one_that_leads_out_is_refused(
        self, shop: Shop, job: Path
    ) -> None:
        product = make_product(job, "A", "grid")
        (product / "data.txt").rename(job / "grid")
        (product / "data.txt").symlink_to("../grid")
        publish_as_is = shop.open()
        with publish_as_is.begin(marker()) as publication:
            publication.stage(JobTree(job), ("A",), "A", {})
            publication.commit()
        assert shop.visible() == {"A": "grid"}
        (product / "out").symlink_to("/etc/passwd")
        with publish_as_is.begin(marker(attempt=2)) as publication, pytest.raises(InvalidProduct):
            publication.stage(JobTree(job), ("A",), "A", {})
        assert shop.staged() == []

    def test_a_later_attempt_fences_one_that_is_staging(self, shop: Shop, job: Path) -> None:
        make_product(job, "A")
        old = shop.open().begin(marker(attempt=1))
        old.stage(JobTree(job), ("A",), "A", {})
        new = shop.open().begin(marker(attempt=2))
        with pytest.raises(Fenced):
            old.stage(JobTree(job), ("A",), "B", {})
        with pytest.raises(Fenced):
            old.commit()
        old.close()
        new.stage(JobTree(job), ("A",), "A", {})
        new.commit()
        new.close()
        assert shop.open().owner("A") == marker(attempt=2)
        assert shop.staged() == []

    def test_what_an_attempt_still_uploads_while_a_later_one_fences_it_goes_with_it(
        self, shop: Shop, job: Path
    ) -> None:
        make_product(job, "A")
        with shop.open().begin(marker(attempt=1)) as old, ExitStack() as later, pytest.raises(Fenced):
            old.stage(
                JobTree(job), ("A",), "A", Late(lambda: later.enter_context(shop.open().begin(marker(attempt=2))))
            )
        assert shop.staged() == []

    def test_a_lower_attempt_can_not_begin_beside_a_higher(self, shop: Shop) -> None:
        with shop.open().begin(marker(attempt=2)), pytest.raises(Fenced):
            shop.open().begin(marker(attempt=1))

    def test_a_stop_ends_the_staging(self, shop: Shop, job: Path) -> None:
        make_product(job, "A")
        with shop.open().begin(marker()) as publication:
            publication.stop()
            with pytest.raises(PublishRefused):
                publication.stage(JobTree(job), ("A",), "A", {})
        assert shop.staged() == []

    def test_killed_at_any_step_a_product_is_whole_or_not_there_and_the_next_attempt_completes(
        self, new_shop: Callable[[], Shop], job: Path
    ) -> None:
        for number in range(1, _MOST_STEPS):
            shop = new_shop()
            killed = kill_at(shop, job, number)
            assert set(shop.visible().items()) <= {("A", "one"), ("B", "one"), ("B", "theirs")}
            assert "B" in shop.visible()
            # the next attempt makes something else: what was shown half is withdrawn
            publish(shop, job, "two", "C", attempt=2)
            shown = {name: text for name, text in shop.visible().items() if name != "C"}
            assert shown in ({"A": "one", "B": "one"}, {"B": "theirs"})
            publish(shop, job, "three", "A", "B", attempt=3, force=True)
            assert (shop.visible(), shop.staged()) == ({"A": "three", "B": "three", "C": "two"}, [])
            if not killed:
                assert number > 10
                return
        raise AssertionError("the publication never ended")

    def test_killed_at_any_step_a_sweep_leaves_all_or_none(self, new_shop: Callable[[], Shop], job: Path) -> None:
        ended = False
        for number in range(1, _MOST_STEPS):
            shop = new_shop()
            killed = kill_at(shop, job, number)
            shop.open().sweep(older_than=0)
            all_there = shop.visible() == {"A": "one", "B": "one"}
            assert all_there or (not ended and shop.visible() == {"B": "theirs"})
            ended = all_there
            assert shop.staged() == []
            if not killed:
                assert ended
                return
        raise AssertionError("the publication never ended")

    def test_an_attempt_that_slept_through_its_successor_changes_nothing(
        self, new_shop: Callable[[], Shop], job: Path
    ) -> None:
        """At each step of attempt 1 in turn attempt 2 begins, publishes C and ends; then attempt 1 goes on."""
        for number in range(1, _MOST_STEPS):
            shop = new_shop()
            publish(shop, job, "theirs", "B", job_id="job-b")
            shutil.rmtree(job)
            for name in ("A", "B", "C"):
                make_product(job, name, "one")
            if not _overtaken(shop, job, number):
                return
            assert shop.visible().pop("C") == "one"
            assert {**shop.visible(), "C": "one"} in (
                {"B": "theirs", "C": "one"},
                {"A": "one", "B": "one", "C": "one"},
            )
        raise AssertionError("the publication never ended")

    @pytest.mark.parametrize("same_job", [True, False])
    def test_of_attempts_that_race_exactly_one_wins(self, shop: Shop, tmp_path: Path, same_job: bool) -> None:
        results: dict[int, str] = {}
        together = threading.Barrier(_RACERS)

        def run(number: int) -> None:
            who = marker(attempt=number) if same_job else marker(job_id=f"job-{number}")
            directory = tmp_path / f"made-{number}"
            for name in ("A", "B"):
                make_product(directory, name, f"from {number}")
            together.wait(60)
            try:
                with shop.open().begin(who) as publication:
                    for name in ("A", "B"):
                        publication.stage(JobTree(directory), (name,), name, {})
                    publication.commit()
                results[number] = "won"
            except DatasetError as error:
                results[number] = type(error).__name__

        threads = [threading.Thread(target=run, args=(number,)) for number in range(1, _RACERS + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        winners = [number for number, result in results.items() if result == "won"]
        assert len(results) == _RACERS
        last = max(winners) if same_job else winners[0]
        # the highest attempt is never fenced; of several jobs one has the place
        assert _RACERS in winners if same_job else len(winners) == 1
        assert shop.visible() == {"A": f"from {last}", "B": f"from {last}"}
        assert set(results.values()) <= {"won", "Fenced", "Collision"}
        assert shop.staged() == []


def _overtaken(shop: Shop, job: Path, number: int) -> bool:
    """Publish A and B as attempt 1, overtaken at a step; return False if it has fewer steps."""
    left = [number]

    def overtake(_step: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            with shop.open().begin(marker(attempt=2)) as later:
                later.stage(JobTree(job), ("C",), "C", {})
                later.commit()

    committed = False
    try:
        with shop.open(overtake).begin(marker(attempt=1), force=True, orphaned=never) as late:
            for name in ("A", "B"):
                late.stage(JobTree(job), (name,), name, {})
            late.commit()
            committed = True
    except Fenced:
        pass
    assert left[0] > 0 or committed == ("A" in shop.visible())
    return left[0] <= 0


class Late(Mapping[str, bytes]):
    """Files beside a product's; before they are handed over, something happens, once."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens: Callable[[], object] | None = happens

    def __getitem__(self, name: str) -> bytes:
        if name != "late.txt":
            raise KeyError(name)
        if self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
        return b"late"

    def __iter__(self) -> Iterator[str]:
        return iter(["late.txt"])

    def __len__(self) -> int:
        return 1
