"""What the client promises, whatever bus it is on: inherit from `ClientContract`, with a fixture `site`.

A site makes clients, and payloads whose jobs do as they are asked.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from ops.client import errors
from pipeline import AsyncClient, Client
from pipeline.statuses import Status
from tests.waiting import PATIENCE, until

#: s for what takes a second on a quiet machine
SOON = 60.0 * PATIENCE
WHOLE = [Status.QUEUED, Status.STARTED, Status.COMPLETED]


class ClientSite(Protocol):
    """Where clients find an installation, or what passes for one."""

    def client(self) -> Client: ...

    def async_client(self) -> AsyncClient: ...

    def does(self, text: str = "", code: int = 0, *, hangs: bool = False) -> dict[str, Any]:
        """A payload whose job prints the text and exits with the code, or goes on for long; no two are alike."""


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("jobstream")}


class ClientContract:
    @pytest.fixture
    def client(self, site: ClientSite) -> Iterator[Client]:
        before = threads()
        with site.client() as client:
            yield client
        until(lambda: threads() <= before, what="the client's threads are gone")

    def test_a_job_runs_and_its_result_is_what_it_was(self, client: Client, site: ClientSite) -> None:
        payload = site.does("hello")
        handle = client.submit("say", payload, tag="greeting", priority=7)
        job = handle.result(SOON)
        assert (job.completed, job.ended, job.exit_code, job.attempt) == (True, True, 0, 1)
        assert job.submission_id == handle.submission_id
        assert list(handle.job_ids()) == [job.job_id]
        assert job.params == payload
        assert (job.type, job.queue) == ("say", "say")

    def test_its_facts_are_seen_from_the_first_to_the_last(self, client: Client, site: ClientSite) -> None:
        handle = client.submit("say", site.does())
        assert [job.event for job in handle.watch(SOON)] == WHOLE
        assert [job.event for job in handle.watch(SOON)] == WHOLE, "seen again"
        assert [job.event for job in client.job(handle.job_ids()[0]).watch(SOON)] == WHOLE, "by the job's id"

    def test_a_failed_job_raises_with_what_went_wrong(self, client: Client, site: ClientSite) -> None:
        handle = client.submit("say", site.does(code=3), retry=False)
        with pytest.raises(errors.JobFailedError, match="exit code 3") as failed:
            handle.result(SOON)
        assert failed.value.job.exit_code == 3
        assert failed.value.job.status == Status.FAILED
        assert [job.status for job in handle.results(SOON)] == [Status.FAILED], "nothing is raised for all of them"

    def test_what_it_printed_can_be_read(self, client: Client, site: ClientSite) -> None:
        job = client.submit("say", site.does("some text")).result(SOON)
        assert "".join(one.text for one in client.logs(job.job_id, stream="stdout", follow=True)) == "some text\n"
        assert list(client.logs(job.job_id, stream="stderr", follow=True)) == []

    def test_the_same_submission_again_is_the_same_job(self, client: Client, site: ClientSite) -> None:
        payload, name = site.does(), f"mine-{uuid.uuid4()}"
        first = client.submit("say", payload, submission_id=name).result(SOON)
        again = client.submit("say", payload, submission_id=name)
        assert again.result(SOON) == first
        assert client.handle(client.submission("say", payload, name)).result(SOON) == first

    def test_a_duplicate_has_its_originals_result(self, client: Client, site: ClientSite) -> None:
        payload = site.does()
        first = client.submit("say", payload).result(SOON)
        second = client.submit("say", payload)
        assert second.result(SOON) == first
        assert second.job().original == first.job_id
        assert [job.event for job in second.watch(SOON)] == [Status.DEDUPED]
        assert client.submit("say", payload, enable_dedup=False).result(SOON).job_id != first.job_id

    def test_one_with_a_hash_of_its_own_is_not_taken_for_another_of_its_id(
        self, client: Client, site: ClientSite
    ) -> None:
        name, mine, theirs = (str(uuid.uuid4()) for _ in range(3))
        sent = client.submission("say", site.does(), name, payload_hash=mine)
        awaited = client.handle(sent)
        other = client.submit("say", site.does(code=3), submission_id=name, payload_hash=theirs, retry=False)
        assert [job.status for job in other.results(SOON)] == [Status.FAILED]
        # another's facts came by while nothing of this one was there
        with pytest.raises(errors.NotYetError):
            awaited.job_ids(0.1)
        client.submit_many([sent])
        job = awaited.result(SOON)
        assert job.document["job"]["job_info"]["payload_hash"] == mine

    def test_what_the_gate_refuses_fails_and_says_why(self, client: Client, site: ClientSite) -> None:
        with pytest.raises(errors.JobFailedError, match="priority"):
            client.submit("say", site.does(), priority=10).result(SOON)

    def test_what_can_not_be_sent_says_why(self, client: Client, site: ClientSite) -> None:
        with pytest.raises(errors.InvalidSubmissionError, match="do you mean priority"):
            client.submit("say", {}, priorty=3)  # type: ignore[call-arg]
        with pytest.raises(errors.InvalidSubmissionError, match="name their URLs"):
            client.submit("say", {"text": "x" * 300_000})
        with pytest.raises(errors.InvalidSubmissionError, match="payload"):
            client.submit("say", {"text": object()})
        with pytest.raises(errors.InvalidSubmissionError):
            client.submit("say", {}, time_limit="long")  # type: ignore[arg-type]

    def test_a_job_that_runs_is_revoked_and_then_retried(self, client: Client, site: ClientSite) -> None:
        handle = client.submit("say", site.does(hangs=True))
        job_id = handle.job_ids(SOON)[0]
        with pytest.raises(errors.NotYetError):
            handle.result(0.01)
        assert [job.status for job in handle.revoke("a wrong one", SOON)] == [Status.REVOKED]
        with pytest.raises(errors.JobRevokedError, match="a wrong one"):
            handle.result(SOON)
        with pytest.raises(errors.RefusedError, match="revoked"):
            client.revoke(job_id, timeout=SOON)
        assert client.retry(job_id, timeout=SOON).attempt == 2
        with pytest.raises(errors.RefusedError):
            client.retry(job_id, attempt=1, timeout=SOON)
        assert client.revoke(job_id, timeout=SOON).status == Status.REVOKED

    def test_jobs_that_are_not_there_are_said_not_to_be(self, client: Client) -> None:
        asked = (client.revoke, client.retry, lambda job: client.job(job).result(SOON), lambda job: [*client.logs(job)])
        for ask in asked:
            with pytest.raises(errors.UnknownJobError, match="no such job"):
                ask("0" * 20 + "-" + "0" * 12)

    def test_all_facts_can_be_watched(self, client: Client, site: ClientSite) -> None:
        with client.watch() as watch:
            handle = client.submit("say", site.does())
            seen = []
            for job in watch:
                if job.submission_id == handle.submission_id:
                    seen.append(job.event)
                if seen == WHOLE:
                    break
            assert watch.next(0.0) is None or seen == WHOLE

    def test_jobs_are_listed_by_what_they_are(self, client: Client, site: ClientSite) -> None:
        tag = f"tag-{uuid.uuid4()}"
        done = client.submit("say", site.does(), tag=tag).result(SOON)
        failed = client.submit("say", site.does(code=1), tag=tag, retry=False).results(SOON)[0]

        def listed() -> set[str]:
            try:
                return {job.job_id for job in client.list(tag=tag) if job.ended}
            except errors.UnreachableError:
                # it answers late where the machine is busy
                return set()

        until(lambda: listed() == {done.job_id, failed.job_id}, SOON, what="the index has both")
        assert [job.job_id for job in client.list(tag=tag, status="completed")] == [done.job_id]
        assert client.list(submission_id=done.submission_id)[0].completed
        assert len(client.list(limit=1)) == 1
        with pytest.raises(ValueError, match="job-completed"):
            client.list(status="finished")

    def test_many_are_sent_and_all_are_there(self, client: Client, site: ClientSite) -> None:
        tag = f"many-{uuid.uuid4()}"
        told: list[tuple[int, int | None]] = []
        many = [client.submission("say", site.does(), tag=tag) for _ in range(150)]
        sent = client.submit_many(many, progress=lambda *one: told.append(one))
        assert sent.stored == 150
        assert told[-1] == (150, 150)
        assert all(client.handle(one).result(SOON).completed for one in many[::50])

    def test_of_many_the_bad_ones_are_named(self, client: Client, site: ClientSite) -> None:
        good = [client.submission("say", site.does()) for _ in range(3)]
        bad = client.submission("say", {"text": "x" * 300_000}, "the-large-one")
        with pytest.raises(errors.NotAllStoredError, match="the-large-one") as problem:
            client.submit_many([good[0], bad, *good[1:]])
        assert (problem.value.stored, problem.value.left) == (3, 1)
        assert [name for name, _ in problem.value.failures] == ["the-large-one"]

    def test_several_threads_may_use_one_client(self, client: Client, site: ClientSite) -> None:
        ended: list[bool] = []
        work = [
            threading.Thread(target=lambda: ended.append(client.submit("say", site.does()).result(SOON).completed))
            for _ in range(6)
        ]
        for one in work:
            one.start()
        for one in work:
            one.join(SOON)
        assert ended == [True] * 6

    def test_closing_ends_waits_and_takes_no_more(self, site: ClientSite) -> None:
        client = site.client()
        handle = client.submit("say", site.does(hangs=True))
        job_id = handle.job_ids(SOON)[0]
        raised: list[BaseException] = []

        def wait() -> None:
            try:
                handle.result(SOON)
            except errors.ClientError as error:
                raised.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        client.close()
        client.close()
        waiting.join(SOON)
        assert [type(error) for error in raised] == [errors.ClosedError]
        for ask in (lambda: client.submit("say", {}), lambda: client.job(job_id), client.watch, client.list):
            with pytest.raises(errors.ClosedError):
                ask()
        with site.client() as other:
            other.revoke(job_id, timeout=SOON)

    async def test_the_client_of_an_event_loop_does_the_same(self, site: ClientSite) -> None:
        before = threads()
        async with site.async_client() as client:
            handles = await asyncio.gather(*(client.submit("say", site.does(f"number {n}")) for n in range(12)))
            jobs = await asyncio.gather(*(handle.result(SOON) for handle in handles))
            assert all(job.completed for job in jobs)
            assert [job.event async for job in handles[0].watch(SOON)] == WHOLE
            printed = [one.text async for one in client.logs(jobs[3].job_id, stream="stdout", follow=True)]
            assert "".join(printed) == "number 3\n"
            with pytest.raises(errors.JobFailedError):
                await (await client.submit("say", site.does(code=2), retry=False)).result(SOON)
            hanging = await client.submit("say", site.does(hangs=True))
            job_id = (await hanging.job_ids(SOON))[0]
            with pytest.raises(errors.NotYetError):
                await hanging.result(0.01)
            assert (await client.revoke(job_id, timeout=SOON)).status == Status.REVOKED
            with pytest.raises(errors.JobRevokedError):
                await (await client.job(job_id)).result(SOON)
            async with await client.watch() as watch:
                sent = await client.submit_many(client.submission("say", site.does()) for _ in range(3))
                assert sent.stored == 3
                assert await watch.next(SOON) is not None

            async def some() -> Any:
                for _ in range(3):
                    yield client.submission("say", site.does())

            assert (await client.submit_many(some())).stored == 3
        assert threads() <= before

    def test_documents_are_json(self, client: Client, site: ClientSite) -> None:
        job = client.submit("say", site.does()).result(SOON)
        assert json.loads(json.dumps(job.document))["job_id"] == job.job_id
