"""What became of the records of jobs.submit: each is in the inbox, or in the dead letters."""

from pipeline.audit.causes import source_key
from pipeline.audit.finding import Check, Findings, Violation
from pipeline.audit.store import Store, Table


class Taken:
    """Judges records of jobs.submit once all partitions of the inbox were fed to `Causes` over the same store."""

    def __init__(self, store: Store, findings: Findings) -> None:
        self._sources = Table(store, "source")
        self._findings = findings

    def buried(self, partition: int, offset: int, principal: str | None = None) -> None:
        """Say that a record went to the dead letters."""
        self._sources.put(source_key(partition, offset, principal), {})

    def judge(self, partition: int, offset: int, principal: str | None = None) -> None:
        """Judge a record of jobs.submit, or of a principal's own topic, that the gate has taken."""
        self._findings.judged[Check.TAKEN] += 1
        if self._sources.get(source_key(partition, offset, principal)) is None:
            whose = f" of {principal}" if principal else ""
            detail = f"the submission{whose} at {partition}/{offset} is neither in the inbox nor in the dead letters"
            self._findings.violation(Violation(Check.TAKEN, "", partition, offset, detail))
