"""Brings one file, in as many tries as it takes: each goes on where the last one ended, where the other side allows."""

import random

from pipeline.inputs.errors import RestartError, RetriableError
from pipeline.inputs.gauge import Gauge
from pipeline.inputs.limits import Limits
from pipeline.inputs.patience import Patience
from pipeline.inputs.source import Source, Stream
from pipeline.inputs.spool import Spool
from pipeline.inputs.version import Version


def bring(
    source: Source, spool: Spool, known: Version | None, limits: Limits, patience: Patience, gauge: Gauge
) -> Version | None:
    """Bring a file into the spool and return its version; None if it is still what is `known`.

    A try that fails for a passing reason is followed by another, after a pause that doubles; one that came further
    than any before begins the count anew. Raises the last RetriableError once `limits.tries` in a row did not, and any
    other InputError at once. What was brought stays in the spool, for a later call to go on with.
    """
    return _Download(source, spool, known, patience, gauge).run(limits)


class _Download:
    def __init__(self, source: Source, spool: Spool, known: Version | None, patience: Patience, gauge: Gauge) -> None:
        self._source = source
        self._spool = spool
        self._known = known
        self._patience = patience
        self._gauge = gauge
        self._claimed = 0

    def run(self, limits: Limits) -> Version | None:
        failed, furthest = 0, 0
        while True:
            try:
                return self._try()
            except RetriableError as error:
                failed = 1 if self._spool.size > furthest else failed + 1
                furthest = max(furthest, self._spool.size)
                if isinstance(error, RestartError):
                    self._spool.discard()
                if failed >= limits.tries:
                    raise
                self._gauge.retried()
                self._patience.wait(_pause(limits, failed) if error.after is None else error.after)

    def _try(self) -> Version | None:
        stream = self._source.open(self._known, self._spool.part(), self._patience)
        if stream is None:
            return None
        try:
            self._pour(stream)
            stream.confirm()
        finally:
            stream.close()
            self._spool.close()
        return stream.version.model_copy(update={"size": self._spool.size})

    def _pour(self, stream: Stream) -> None:
        spool, size = self._spool, stream.version.size
        self._claim(size or 0)
        spool.begin(stream.version, stream.start)
        for data in stream.chunks(self._patience):
            if size is not None and spool.size + len(data) > size:
                raise RestartError(f"{self._source.shown}: it is longer than the {size} bytes that it should have")
            self._claim(spool.size + len(data))
            spool.write(data)
            self._gauge.add(len(data))
        if size is not None and spool.size != size:
            raise RetriableError(f"{self._source.shown}: it ended after {spool.size} of {size} bytes")
        spool.finish()

    def _claim(self, size: int) -> None:
        if size > self._claimed:
            self._gauge.claim(size - self._claimed, self._source.shown)
            self._claimed = size


def _pause(limits: Limits, failed: int) -> float:
    longest = min(limits.backoff * 2.0 ** (failed - 1), limits.backoff_max)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311
