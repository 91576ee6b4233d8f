"""An installation on a secured broker: each agent as a user of its own, with the rights of its role and no more."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import acls, admin
from agents.registry import codec
from ops.cluster.agent_process import AgentProcess
from ops.reading.log import Log
from ops.submitting import Submission, Submitter
from pipeline.messages.fact import Fact
from pipeline.rights import Role, rights_of
from pipeline.settings import SecuritySettings, Settings, SinkSettings, TopicSettings
from tests.integration.secured_elasticsearch import SecuredElasticsearch
from tests.integration.secured_kafka import ADMIN, SecuredKafka
from tests.waiting import until

KEY = "k3y-of-the-attempts"
SOON = 90.0


@dataclass
class Site:
    """Agents on a secured broker, each as a user of its own."""

    broker: SecuredKafka
    home: Path
    topics: TopicSettings
    search: SecuredElasticsearch | None = None
    sealing: bool = False
    agents: dict[str, AgentProcess] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    given: list[acls.Grant] = field(default_factory=list)

    def settings(self, user: str, **kafka: Any) -> Settings:
        """What a process of this user is given; only gate and ledger know the key of the tokens."""
        keyed = {"token_key": KEY} if user in (Role.GATE, Role.ORCHESTRATOR) else {}
        reached = self.broker.kafka(user).model_copy(update=kafka)
        shown = {"user": None, "api_key_file": self.key_file} if user == Role.SINK else {}
        return Settings(
            home=self.home / user,
            kafka=reached,
            topics=self.topics,
            sink=self.search.sink(**shown) if self.search else SinkSettings(),
            security=SecuritySettings(sealing=self.sealing),
            **keyed,
        )

    def prepare(self) -> None:
        """Make the topics, give each role its rights, and follow the facts."""
        administrator = self.settings(ADMIN)
        topology = administrator.topology
        admin.apply(administrator)
        rights = {f"User:{role}": rights_of(role, topology, sealing=self.sealing) for role in Role}
        rights |= {f"User:{one}": rights_of(Role.PRODUCER, topology, principal=one) for one in self.topics.principals}
        self.given = acls.grants(rights)
        acls.create(administrator, self.given)
        events = topology.events
        self.log.follow(events, dict.fromkeys(range(events.partitions), 0))

    def start(self, role: Role, name: str = "", **settings: Any) -> None:
        """Start an agent, under a name of its own where there are several of its role."""
        called = name or role.value
        one = self.settings(role).model_copy(update={"home": self.home / called, **settings})
        agent = AgentProcess(one.home, called, [role], ["--no-gate"] if role is Role.ORCHESTRATOR else [])
        self.agents[called] = agent
        agent.start(one.environment())

    def stop(self) -> None:
        for agent in reversed(self.agents.values()):
            agent.stop(20)
        self.log.close()
        # the broker's users are others' too, who look at all that they may do
        acls.remove(self.settings(ADMIN), [one.binding() for one in self.given])

    def submit(self, user: str, payload: dict[str, Any], **options: Any) -> str:
        """Submit by the user's own topic; return the job that came of it."""
        with Submitter(self.settings(user, submit_as=user)) as submitter:
            one = Submission("hello", payload, options=options)
            submitter.send(one).result(SOON)
        return until(lambda: self.job_of(one.submission_id), SOON, what="the submission to be taken")

    def job_of(self, submission_id: str) -> str | None:
        return next((fact.job_id for fact in self.read() if fact.submission_id == submission_id), None)

    def statuses(self, job_id: str) -> list[str]:
        return [fact.status for fact in self.read() if fact.job_id == job_id]

    def read(self) -> list[Fact]:
        """Return all facts so far, as an operator may read them."""
        while (message := self.log.poll(0.02)) is not None:
            self.facts.append(Fact.of(codec(self.log_settings).decode("fact", message.value())))
        return self.facts

    def __post_init__(self) -> None:
        #: of the sink's API key, and which one that is
        self.key_file = self.home / "sink.key"
        self.key = self.search.make_key(self.key_file) if self.search else ""
        self.log_settings = self.settings(Role.OPERATOR)
        self.log = Log(self.log_settings)

    def logs(self) -> str:
        return "\n".join(agent.log.read_text(errors="replace") for agent in self.agents.values())
