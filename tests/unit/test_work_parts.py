"""The pure parts of an attempt: commands, mounts, errors, the worker's configuration."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.containers.process import ProcessEngine
from pipeline.containers.spec import Labels, Mount
from pipeline.shortening import short_error
from pipeline.work import command, request
from pipeline.work.command import Command
from pipeline.work.directory import WorkRoot
from pipeline.work.errors import AttemptError
from pipeline.work.place import Limits, Place
from pipeline.work.request import mounts
from pipeline.work.run_script import is_secret
from pipeline.work.worker_config import JobWorkerConfig

LABELS = Labels(job="fam-1", attempt=1, holder="w:1:a", worker="w")


def words(arguments: list[str], **params: Any) -> list[str]:
    return command.substitute(arguments, params)


def test_an_argument_that_is_exactly_a_parameter_is_replaced() -> None:
    assert words(["$a", "$b"], a="x y", b=2) == ["x y", "2"]


def test_lists_are_spliced_and_everything_becomes_text() -> None:
    assert words(["a", "$l", "z"], l=["x", 1, None, True, 1.5]) == ["a", "x", "1", "None", "True", "1.5", "z"]
    assert words(["$l"], l=[]) == []
    assert words(["$d"], d={"k": [1]}) == ['{"k":[1]}']


def test_nothing_is_replaced_inside_an_argument_or_a_second_time() -> None:
    assert words(["x$a", "$a ", "${a}", "$a.b", "$$a", "$"], a="1") == ["x$a", "$a ", "${a}", "$a.b", "$$a", "$"]
    assert words(["$a"], a="$b", b="no") == ["$b"]


def test_an_unknown_parameter_is_an_error() -> None:
    with pytest.raises(AttemptError, match=r"\$gone"):
        words(["$gone"])


def test_a_command_line_is_split_as_a_shell_would_and_never_run_by_one() -> None:
    built = command.build({"params": {"_command": "prog 'a b' ; rm -rf / $(x) `y` > z"}}, None)
    assert built.argv == ("prog", "a b", ";", "rm", "-rf", "/", "$(x)", "`y`", ">", "z")


def test_what_the_gate_resolved_runs_word_by_word_as_it_is() -> None:
    resolved = {"path": "/p", "options": [], "arguments": ["$a", "x y", ""], "env": [{"key": "K", "value": "$a"}]}
    built = command.build({"params": {"a": 1, "_command": "other"}, "command": resolved}, None)
    assert (built.argv, built.env) == (("/p", "$a", "x y", ""), {"K": "$a"})


@pytest.mark.parametrize("broken", [{}, {"path": ""}, {"path": "/p", "arguments": "x"}, {"path": "/p", "options": [1]}])
def test_a_resolved_command_that_is_none_is_an_error(broken: dict[str, Any]) -> None:
    with pytest.raises(AttemptError, match="command"):
        command.build({"params": {"_command": "other"}, "command": broken}, None)


def test_a_workers_image_brings_its_own_urls_mappings_and_options() -> None:
    entry = {"type": "t", "command": {"path": "p"}, "container_image_name": "theirs", "runtime_options": {"cpus": 1}}
    document = {"type": "t", "container_image_name": "own", "container_image_urls": {"arm": "own"}}

    def fields(**more: Any) -> dict[str, Any]:
        config = JobWorkerConfig.model_validate({"configs": [{**entry, **more}]})
        return request.container_fields(document, command.build(document, config))

    assert fields()["container_image_name"] == "own"
    overridden = fields(container_image_url="u")
    assert (overridden["container_image_name"], overridden["runtime_options"]) == ("theirs", {"cpus": 1})
    assert overridden["container_image_urls"] is None
    assert fields(container_image_url="u", container_image_urls={"arm": "a"})["container_image_urls"] == {"arm": "a"}


def test_the_images_that_a_job_depends_on_are_the_workers_where_it_has_some() -> None:
    own, theirs = {"container_image_name": "own", "other": 1}, {"container_image_name": "theirs"}
    document = {"type": "t", "dependency_images": [own]}

    def names(**more: Any) -> list[Any]:
        config = JobWorkerConfig.model_validate({"configs": [{"type": "t", "command": {"path": "p"}, **more}]})
        return [one["container_image_name"] for one in request.dependencies(document, command.build(document, config))]

    assert names() == ["own"]
    assert names(dependency_images=[theirs]) == ["theirs"]
    assert (
        request.dependencies(document, Command(("x",)))[0].keys()
        == request.container_fields(document, Command(())).keys()
    )


@pytest.mark.parametrize("images", ["x", ["x"], {"x": 1}, [{}] * 21])
def test_images_that_a_job_can_not_depend_on_are_refused(images: Any) -> None:
    with pytest.raises(AttemptError, match="dependency_images"):
        request.dependencies({"dependency_images": images}, Command(("x",)))


def test_a_workers_configuration_decides_alone() -> None:
    config = JobWorkerConfig.model_validate(
        {"configs": [{"type": "t", "command": {"path": "p", "options": ["$lit"], "arguments": ["$a"]}}]}
    )
    built = command.build({"type": "t", "params": {"a": 1, "_command": "other"}}, config)
    assert built.argv == ("p", "$lit", "1")
    with pytest.raises(AttemptError, match="'u'"):
        command.build({"type": "u", "params": {"_command": "other"}}, config)


@pytest.mark.parametrize("url", [None, "http://x/y.tar"])
def test_the_image_is_overridden_only_by_name_and_url_together(url: str | None) -> None:
    config = JobWorkerConfig.model_validate(
        {
            "configs": [
                {"type": "t", "command": {"path": "p"}, "container_image_name": "mine", "container_image_url": url}
            ]
        }
    )
    document = {"type": "t", "container_image_name": "theirs", "container_mappings": {"/a": "/b"}}
    fields = request.container_fields(document, command.build(document, config))
    assert fields["container_image_name"] == ("mine" if url else "theirs")
    assert fields["container_mappings"] == ({} if url else {"/a": "/b"})


def test_a_bad_configuration_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text('{"configs": [{"type": 1}]}')
    with pytest.raises(ValueError, match=r"w\.json"):
        JobWorkerConfig.load(tmp_path / "w.json")


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, None),
        ({"webdav_port": "8085"}, "http://10.0.0.1:8085"),
        ({"webdav_port": 8085, "webdav_url": "https://dav/work"}, "https://dav/work"),
    ],
)
def test_a_jobs_url_is_that_of_what_serves_work_directories(config: dict[str, Any], url: str | None) -> None:
    assert JobWorkerConfig.model_validate(config).jobs_url("10.0.0.1") == url


def test_variables_in_a_mapping_are_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/secret")
    assert mounts({"$DATA/x": "/x"}) == (Mount("$DATA/x", "/x"),)


def test_mappings_are_read_only_unless_they_say_otherwise() -> None:
    given = {"/a": "/b", "/c": ["d"], "/e": ["/f", "rw"]}
    assert mounts(given) == (Mount("/a", "/b", "ro"), Mount("/c", "d", "ro"), Mount("/e", "/f", "rw"))


@pytest.mark.parametrize("value", [[], None, 1, ["/a", "rwx"], ["/a", "ro", "x"], {"a": 1}])
def test_mappings_of_another_shape_are_refused(value: Any) -> None:
    with pytest.raises(AttemptError, match="container_mappings"):
        mounts({"/a": value})


def test_options_lower_limits_and_never_raise_them(tmp_path: Path) -> None:
    place = Place(engine=ProcessEngine(tmp_path), root=WorkRoot(tmp_path, "w"), worker="w", limits=Limits(cpus=2.0))
    document = {"needs": {"memory_mib": 512}, "runtime_options": {"memory": "4g", "cpus": 1}}
    spec = request.build(document, Command(("x",)), place, LABELS, tmp_path)
    assert (spec.memory_mib, spec.cpus, spec.pids_limit) == (512, 1.0, 512)


def test_the_memory_of_a_retry_is_lowered_by_no_option(tmp_path: Path) -> None:
    place = Place(engine=ProcessEngine(tmp_path), root=WorkRoot(tmp_path, "w"), worker="w")
    document = {"needs": {"memory_mib": 1024}, "grown": {"memory_mib": 1024}, "runtime_options": {"memory": "512m"}}
    assert request.build(document, Command(("x",)), place, LABELS, tmp_path).memory_mib == 1024


def test_needs_of_0_leave_the_limits_as_they_are(tmp_path: Path) -> None:
    place = Place(engine=ProcessEngine(tmp_path), root=WorkRoot(tmp_path, "w"), worker="w")
    spec = request.build({"needs": {"memory_mib": 0, "gpus": 0}}, Command(("x",)), place, LABELS, tmp_path)
    assert (spec.memory_mib, spec.gpus, spec.network) == (1024, None, "none")


@pytest.mark.parametrize(
    ("error", "short"),
    [("", ""), ("x" * 35, "x" * 35), ("x" * 36, "x" * 20 + "....." + "x" * 10)],
)
def test_errors_beyond_35_characters_are_shortened(error: str, short: str) -> None:
    assert short_error(error) == short


def test_a_directory_that_exists_is_not_used_again(tmp_path: Path) -> None:
    root, when = WorkRoot(tmp_path, "w"), datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert root.create("fam-1", 2, when).path == tmp_path / "jobs/2026/01/02/03/04/fam-1-2"
    with pytest.raises(AttemptError, match="no work directory"):
        root.create("fam-1", 2, when)


def test_names_that_sound_secret_are_secret() -> None:
    assert all(map(is_secret, ("AWS_SECRET_ACCESS_KEY", "api_token", "DB_PASSWORD", "MY_API_KEY")))
    assert not any(map(is_secret, ("PATH", "HOME", "KEYBOARD", "OUTPUT_DIR")))
