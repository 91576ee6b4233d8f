"""One submission from the command line: sent, taken, followed to its end."""

from typing import Any, Self

from ops.cli import exits
from ops.cli.errors import CliError, say
from ops.cli.output import line, print_json
from ops.reading.facts import FactReader, status_of
from ops.submitting import (
    DELIVERY_TIMEOUT,
    Submission,
    Submitter,
    Taken,
    await_final,
    await_taken,
    exit_code,
    known,
    original_of,
)
from pipeline.identity import family_of_job
from pipeline.messages.fact import Fact
from pipeline.settings import Settings
from pipeline.statuses import ATTEMPT_FAILED

#: s after which a submission that nobody takes is mentioned
_NOTE_AFTER = 10.0


class SubmissionRun:
    """Says on standard output what becomes of a submission, as JSON where `as_json`.

    Raises BrokerError where Kafka can't be reached, CliError where it doesn't store the submission.
    """

    def __init__(self, settings: Settings, submission: Submission, *, as_json: bool) -> None:
        self._submission = submission
        self._principal = settings.kafka.submit_as
        self._as_json = as_json
        self._reader = FactReader(settings)
        # before anything is sent, so that its first fact can't be missed
        self._follower = self._reader.follow([submission.family(self._principal)])
        client: dict[str, Any] = {"message.timeout.ms": int(DELIVERY_TIMEOUT * 1000), "linger.ms": 0}
        self._submitter = Submitter(settings, **client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._submitter.close()
        self._follower.close()
        self._reader.close()

    def send(self, *, known_id: bool, timeout: float | None) -> Taken | None:
        """Send the submission; return its jobs, None where nobody took it within `timeout` seconds.

        An id that the caller chose may have been sent before: its jobs are then found in the log.
        """
        before = known(self._reader, self._submission, self._principal) if known_id else None
        future = self._submitter.send(self._submission)
        try:
            future.result(DELIVERY_TIMEOUT + 5)
        except TimeoutError:
            raise CliError("Kafka did not confirm the submission: try again", exits.UNREACHABLE) from None
        taken = before or self._await_taken(timeout)
        if taken is not None:
            self._tell_taken(taken)
        return taken

    def wait(self, taken: Taken, timeout: float | None) -> int:
        """Follow the jobs, and of a duplicate its original, to their end; return the first exit status that isn't 0."""
        facts = [self._followed(fact) for fact in taken.facts.values()]
        ended = await_final(self._follower, facts, timeout, None if self._as_json else _tell)
        if ended is None:
            raise CliError(
                f"not ended within {timeout:.0f} s: `jobstream watch {' '.join(taken.job_ids)}`", exits.TIMEOUT
            )
        for fact in ended.values():
            if fact.error:
                say(f"{fact.job_id}: {fact.error.strip().splitlines()[-1] if fact.error.strip() else ''}")
        return next((code for code in map(exit_code, ended.values()) if code), exits.OK)

    def _await_taken(self, timeout: float | None) -> Taken | None:
        if timeout is not None:
            return await_taken(self._reader, self._follower, self._submission.submission_id, timeout)
        noted = False
        while True:
            taken = await_taken(self._reader, self._follower, self._submission.submission_id, _NOTE_AFTER)
            if taken is not None:
                return taken
            if not noted:
                say(f"submission {self._submission.submission_id} is in Kafka, not yet taken; waiting")
                noted = True

    def _tell_taken(self, taken: Taken) -> None:
        if self._as_json:
            print_json({"submission_id": taken.submission_id, "job_ids": taken.job_ids})
            return
        for fact in taken.facts.values():
            _tell(fact)

    def _followed(self, fact: Fact) -> Fact:
        """Return what is to be waited for: the original's newest fact in place of a duplicate's."""
        original = original_of(fact)
        if original is None or family_of_job(original) != family_of_job(fact.job_id):
            return fact
        facts = self._reader.of_job(original)
        return facts[-1] if facts else fact


def _tell(fact: Fact) -> None:
    original = original_of(fact)
    detail = f"  duplicate of {original}" if original else f"  {fact.short_error}" if fact.short_error else ""
    attempt = f"  attempt {fact.attempt}" if fact.attempt > 1 else ""
    # of an attempt that failed the job itself goes on, and waits
    status = fact.status if fact.status == ATTEMPT_FAILED else status_of(fact)
    line(f"{fact.job_id}  {status}{attempt}{detail}")
