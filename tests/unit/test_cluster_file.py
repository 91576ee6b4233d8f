"""What an installation remembers of itself."""

from pathlib import Path

import pytest

from ops.cluster import Cluster
from ops.cluster.file import ClusterFile, Plan
from ops.cluster.servers import Servers
from ops.embedded.ports import free_port
from pipeline.settings import EmbeddedSettings, Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("JOBSTREAM_KAFKA__BOOTSTRAP", "JOBSTREAM_TOPICS__PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JOBSTREAM_HOME", str(tmp_path))
    monkeypatch.setenv("JOBSTREAM_CONFIG", str(tmp_path / "none.toml"))
    return tmp_path


WRITTEN = ClusterFile(
    Plan(workers=3, engine="noop", task_workers=1, elasticsearch=False, sink=False),
    {"broker": 40001},
    {"bootstrap": "127.0.0.1:40001"},
    {"elasticsearch": 'http://127.0.0.1:40002/"x\\'},
    {"prefix": "one.", "inbox_partitions": 3},
)


def test_task_workers_are_started_where_they_are_asked_for(home: Path) -> None:
    assert not [name for name in Cluster(Settings()).agent_names if name.startswith("task")]
    asked = Settings(embedded=EmbeddedSettings(task_workers=2, workers=1))
    cluster = Cluster(asked)
    assert cluster.agent_names[-4:] == ["worker-1", "task-worker-1", "task-worker-2", "sink"]
    assert ClusterFile.read(home) == ClusterFile()


def test_what_was_written_is_read_again(home: Path) -> None:
    WRITTEN.write(home)
    assert ClusterFile.read(home) == WRITTEN


def test_other_commands_find_the_servers_and_the_topics(home: Path) -> None:
    WRITTEN.write(home)
    settings = Settings()
    assert settings.kafka.bootstrap == "127.0.0.1:40001"
    assert settings.topology.inbox.name == "one.jobs.inbox"
    assert settings.topology.inbox.partitions == 3


def test_the_environment_wins_over_what_up_wrote(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITTEN.write(home)
    monkeypatch.setenv("JOBSTREAM_KAFKA__BOOTSTRAP", "elsewhere:9092")
    assert Settings().kafka.bootstrap == "elsewhere:9092"


@pytest.mark.parametrize("text", ["", "not toml", 'plan = 3\n[ports]\nbroker = "x"\n', "[plan]\nworkers = true\n"])
def test_a_file_that_makes_no_sense_is_as_good_as_none(home: Path, text: str) -> None:
    (home / "cluster.toml").write_text(text)
    file = ClusterFile.read(home)
    assert file.plan in (None, Plan())
    assert not file.ports


def test_a_child_process_reads_the_settings_of_its_parent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITTEN.write(home)
    monkeypatch.setenv("JOBSTREAM_WORKER__SLOTS", "7")
    given = Settings(home=home / "other", token_key="secret")
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == given
    assert given.worker.slots == 7


def test_a_port_that_was_chosen_is_kept_unless_the_settings_name_another(tmp_path: Path) -> None:
    chosen, wanted = free_port(), free_port()
    for given, expected in ((0, chosen), (29092, chosen), (wanted, wanted)):
        settings = Settings(embedded=EmbeddedSettings(kafka_port=given))
        servers = Servers(tmp_path, settings, Plan(elasticsearch=False), {"broker": chosen})
        assert servers["kafka"]._ports["broker"].wanted == expected
