"""Clients of a broker with TLS and passwords: who is who they say is let in, and may do what the role needs."""

import json
import os
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
from typer.testing import CliRunner

from agents import acls, admin
from agents.bus import Publisher, client_config, consumer, read_to_end
from ops.cli.main import app
from pipeline.rights import Operation, Resource, Right, Role, rights_of
from pipeline.settings import KafkaSettings, Settings, TopicSettings
from pipeline.topology import UNUSED_GROUP
from tests.certificates import Authority
from tests.integration import rights_trial
from tests.integration.rights_trial import BEGIN, DOCUMENT, END, Column
from tests.integration.secured_kafka import ADMIN, ALICE, SEALED, SecuredKafka
from tests.waiting import until

#: topics and rights of these tests' own
PREFIX = "tried-"


@pytest.fixture
def broker(secured_broker: SecuredKafka) -> SecuredKafka:
    return secured_broker


def reaches(kafka: KafkaSettings) -> bool:
    """Whether a client with these settings gets an answer within two seconds."""
    client = Producer({**client_config(Settings(kafka=kafka), "test"), "log_level": 0})
    try:
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


def test_records_go_and_come_over_tls(broker: SecuredKafka, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, kafka=broker.kafka(ADMIN), topics=TopicSettings(prefix="plain-"))
    admin.apply(settings)
    publisher = Publisher(settings, "test")
    publisher.send(settings.topology.view, "key", b"value", 0).result(20)
    publisher.close()
    client = consumer(settings, "test")
    assert [message.value() for message in read_to_end(client, settings.topology.view.name, [0])] == [b"value"]
    client.close()


def test_a_password_may_be_given_as_such(broker: SecuredKafka) -> None:
    known = broker.kafka(ADMIN).model_copy(update={"password_file": None})
    assert reaches(KafkaSettings(**{**known.model_dump(), "password": broker.password(ADMIN)}))


@pytest.mark.parametrize(
    "wrong", [{"password": "another"}, {"user": "nobody"}, {"security": "PLAINTEXT"}, {"security": "SSL"}]
)
def test_who_shows_no_valid_password_gets_no_answer(broker: SecuredKafka, wrong: dict[str, str]) -> None:
    assert not reaches(KafkaSettings(**{**broker.kafka(ADMIN).model_dump(), **wrong}))


def test_a_broker_whose_certificate_is_of_another_authority_is_not_believed(
    broker: SecuredKafka, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "another authority")
    assert not reaches(broker.kafka(ADMIN).model_copy(update={"ca_file": other.file}))


def settings_of(broker: SecuredKafka, user: str) -> Settings:
    principals = {"prefix": PREFIX, "principals": (ALICE,)}
    return Settings(kafka=broker.kafka(user), topics=TopicSettings(**principals), token_key="key")


def jobstream(broker: SecuredKafka, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    for name, value in settings_of(broker, ADMIN).environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_rights_are_given_once_and_only_what_is_asked_for(
    broker: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = jobstream(broker, monkeypatch, "acls", "apply", "--dry-run").splitlines()
    given = jobstream(broker, monkeypatch, "acls", "apply").splitlines()
    assert planned[:-1] == given[:-1]
    assert len(given) > 100
    assert jobstream(broker, monkeypatch, "acls", "apply").startswith("0 given, 0 taken away")


def test_rights_beyond_the_table_are_taken_away_where_that_is_asked_for(
    broker: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobstream(broker, monkeypatch, "acls", "apply")
    beyond = acls.Grant(f"User:{Role.WORKER}", Right(Resource.TOPIC, f"{PREFIX}jobs.events", Operation.WRITE))
    acls.create(settings_of(broker, ADMIN), [beyond])
    assert "1 beyond the table" in jobstream(broker, monkeypatch, "acls", "apply")
    pruned = jobstream(broker, monkeypatch, "acls", "apply", "--prune").splitlines()
    assert pruned[0] == "- User:worker  allow write  topic tried-jobs.events"
    until(lambda: acls.compare(settings_of(broker, ADMIN), [beyond]).missing, what="the right to be gone")


def test_what_these_principals_have_elsewhere_is_told_and_stays(
    broker: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobstream(broker, monkeypatch, "acls", "apply")
    worker = f"User:{Role.WORKER}"
    names = ("jobs.events", "other-jobs.events", f"{PREFIX}other-jobs.events", "*")
    elsewhere = [acls.Grant(worker, Right(Resource.TOPIC, name, Operation.WRITE)) for name in names]
    elsewhere.append(acls.Grant(worker, Right(Resource.TOPIC, PREFIX, Operation.WRITE, prefixed=True)))
    acls.create(settings_of(broker, ADMIN), elsewhere)
    try:
        pruned = jobstream(broker, monkeypatch, "acls", "apply", "--prune").splitlines()
        assert pruned[0].startswith("0 given, 0 taken away")
        assert pruned[1].startswith("5 about other names")
        assert acls.compare(settings_of(broker, ADMIN), elsewhere).missing == []
    finally:
        acls.remove(settings_of(broker, ADMIN), [one.binding() for one in elsewhere])


def test_what_an_operator_denied_is_told_and_stays(broker: SecuredKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    jobstream(broker, monkeypatch, "acls", "apply")
    topic, worker = f"{PREFIX}jobs.logs", f"User:{Role.WORKER}"
    pattern = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, worker)
    denied = AclBinding(*pattern, "192.0.2.1", AclOperation.WRITE, AclPermissionType.DENY)
    beside = acls.Grant(worker, Right(Resource.TOPIC, f"{PREFIX}jobs.dead", Operation.WRITE))
    administrator = settings_of(broker, ADMIN)
    admin.client(administrator).create_acls([denied])[denied].result(20)
    acls.create(administrator, [beside])
    told = f"User:worker  deny write  topic {topic} from 192.0.2.1"
    try:
        until(lambda: told in jobstream(broker, monkeypatch, "acls", "apply"), what="the broker to know it")
        pruned = jobstream(broker, monkeypatch, "acls", "apply", "--prune").splitlines()
        assert pruned[0] == f"- {acls.shown(beside.binding())}"
        assert pruned[1] == f"! {told}"
        assert "0 given, 1 taken away" in pruned[2]
        assert pruned[3].startswith("1 denied by an operator")
        until(lambda: acls.compare(administrator, [beside]).missing, what="the other right to be gone")
        assert json.loads(jobstream(broker, monkeypatch, "acls", "apply", "--prune", "-o", "json"))["denied"] == [told]
    finally:
        acls.remove(administrator, [denied])


@pytest.fixture(scope="module")
def outcomes(secured_broker: SecuredKafka) -> dict[str, dict[str, bool]]:
    """What came of every operation that every role tried on the broker."""
    administrator = settings_of(secured_broker, ADMIN)
    rights_trial.prepare(administrator)
    topology = administrator.topology
    rights = {f"User:{role}": rights_of(role, topology) for role in Role}
    rights |= {f"User:{ALICE}": rights_of(Role.PRODUCER, topology, principal=ALICE)}
    rights |= {f"User:{SEALED}": rights_of(Role.WORKER, topology, sealing=True)}
    # else a refusal of the client's group hides whether it may read
    anybody = {"User:*": [Right(Resource.GROUP, topology.name(UNUSED_GROUP), Operation.DESCRIBE)]}
    acls.create(administrator, acls.grants(rights | anybody))
    columns = [Column(role.value, settings_of(secured_broker, role)) for role in Role]
    columns.insert(1, Column(f"producer {ALICE}", settings_of(secured_broker, ALICE)))
    at = [column.name for column in columns].index(Role.WORKER) + 1
    columns.insert(at, Column("worker, sealed grants", settings_of(secured_broker, SEALED)))
    return rights_trial.tried(columns)


def test_the_documented_table_is_what_the_broker_allows_and_refuses(outcomes: dict[str, dict[str, bool]]) -> None:
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    found = rights_trial.table(outcomes)
    if os.environ.get("JOBSTREAM_TEST_WRITE"):
        DOCUMENT.write_text(f"{before}{BEGIN}\n{found}\n{END}{after}")
    else:
        assert written.strip() == found, "JOBSTREAM_TEST_WRITE=1 and this test bring it up to date"


def test_a_worker_writes_no_facts_no_inbox_and_nothing_of_other_roles(outcomes: dict[str, dict[str, bool]]) -> None:
    allowed = {operation for operation, by_role in outcomes.items() if by_role["worker"]}
    assert {one for one in allowed if not one.startswith("read ")} == {
        "write jobs.reports",
        "write workers.status",
        "write jobs.logs",
        "write datasets.published",
    }


def test_where_grants_are_sealed_a_worker_reads_commands_and_settings_alone(
    outcomes: dict[str, dict[str, bool]],
) -> None:
    allowed = {operation for operation, by_role in outcomes.items() if by_role["worker, sealed grants"]}
    assert {one for one in allowed if one.startswith("read ")} == {"read workers.commands", "read jobs.settings"}
    assert {one for one in outcomes if outcomes[one]["worker"]} - allowed == {"read jobs.inbox"}


@pytest.mark.parametrize(("who", "topic"), [("producer", "jobs.submit"), (f"producer {ALICE}", f"jobs.submit.{ALICE}")])
def test_a_producer_can_only_submit(outcomes: dict[str, dict[str, bool]], who: str, topic: str) -> None:
    assert [operation for operation, by_role in outcomes.items() if by_role[who]] == [f"write {topic}"]


def test_nobody_but_the_ledger_writes_facts(outcomes: dict[str, dict[str, bool]]) -> None:
    assert [who for who, allowed in outcomes["write jobs.events"].items() if allowed] == [Role.ORCHESTRATOR]


def test_each_right_of_the_table_in_code_is_one_that_the_broker_gives(
    broker: SecuredKafka, outcomes: dict[str, dict[str, bool]]
) -> None:
    topology = settings_of(broker, ADMIN).topology
    for name, topic in rights_trial.topics(topology):
        for role in Role:
            rights = rights_of(role, topology)
            for operation in (Operation.READ, Operation.WRITE):
                wanted = any(right.covers(Resource.TOPIC, topic.name, operation) for right in rights)
                assert outcomes[f"{operation} {name}"][role] is wanted, f"{role} {operation} {name}"
