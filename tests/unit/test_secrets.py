"""Secrets by reference: who gets which, and that none is shown, however the output is cut."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.containers.output import Outputs
from pipeline.secrets import Mask, SecretError, Vault, named_in, reference_of

SECRET = "s3cr3t-of-the-archive"


def vault(**options: object) -> Vault:
    environment = {"JOBSTREAM_SECRET_ARCHIVE_LOGIN": SECRET}
    return Vault({"archive.login": ("job-get:v1", "job-put:*")}, environment=environment, **options)


def test_references_are_found_wherever_parameters_have_them() -> None:
    params = {"a": "secret://one", "b": ["x", {"c": "secret://two.b"}], "d": "not secret://three", "e": 5}
    assert list(named_in(params)) == ["one", "two.b"]


@pytest.mark.parametrize(
    "text", ["secret://", "secret://a/b", "secret://../a", "secret://.a", "secret://a b", "SECRET://a"]
)
def test_what_is_no_name_is_no_reference(text: str) -> None:
    assert reference_of(text) is None


def test_a_secret_is_in_its_own_variable_and_in_each_that_refers_to_it() -> None:
    env = {"LOGIN": "secret://archive.login", "OTHER": "x"}
    found = vault().given([], env, "job-get:v1", registered=True)
    assert found.env == {"LOGIN": SECRET, "JOBSTREAM_SECRET_ARCHIVE_LOGIN": SECRET}
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("job_type", "registered"), [("job-get:v2", True), ("job-get:v1", False), ("job-put:v1", False), ("other", True)]
)
def test_a_job_of_another_type_or_with_a_command_of_its_submitter_gets_none(job_type: str, registered: bool) -> None:
    with pytest.raises(SecretError, match="isn't allowed") as refused:
        vault().given(["archive.login"], {}, job_type, registered=registered)
    assert refused.value.refused


def test_what_is_allowed_to_any_job_is_given_to_any() -> None:
    known = Vault({"open": ("*",)}, environment={"JOBSTREAM_SECRET_OPEN": SECRET})
    assert known.given(["open"], {}, "whatever", registered=False).env == {"JOBSTREAM_SECRET_OPEN": SECRET}


@pytest.mark.parametrize("other", ["a-b", "a_b", "A.B"])
def test_two_secrets_that_share_a_variable_are_refused_before_any_job_gets_the_wrong_one(other: str) -> None:
    with pytest.raises(ValueError, match=f"a.b and {other} share the variable JOBSTREAM_SECRET_A_B"):
        Vault({"a.b": ("*",), other: ("job-get:v1",)}, environment={})


def test_a_variable_of_the_worker_that_is_not_on_the_list_is_out_of_reach() -> None:
    known = Vault({}, environment={"JOBSTREAM_SECRET_X": SECRET})
    with pytest.raises(SecretError, match="isn't allowed"):
        known.given(["X"], {}, "a", registered=True)


def test_a_secret_may_be_a_file_and_loses_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    known = Vault({"key": ("*",)}, tmp_path, {})
    assert known.given(["key"], {}, "a", registered=False).env["JOBSTREAM_SECRET_KEY"] == SECRET


@pytest.mark.parametrize("left", ["absent", "a folder", "short", "long", "a pipe"])
def test_a_worker_that_lacks_it_or_has_none_that_could_be_masked_says_so_without_waiting(
    tmp_path: Path, left: str
) -> None:
    path = tmp_path / "key"
    match left:
        case "a folder":
            path.mkdir()
        case "short":
            path.write_text("abc")
        case "long":
            path.write_text("a" * 10_000)
        case "a pipe":
            import os

            os.mkfifo(path)
    with pytest.raises(SecretError, match="secret://key") as told:
        Vault({"key": ("*",)}, tmp_path, {}).given(["key"], {}, "a", registered=False)
    assert not told.value.refused


def test_what_programs_make_of_a_secret_is_masked_too() -> None:
    mask = Mask(['a "quoted" pass/word'])
    assert mask.text(json.dumps({"p": 'a "quoted" pass/word'})) == '{"p": "***"}'
    assert mask.text("https://h?p=a%20%22quoted%22%20pass%2Fword") == "https://h?p=***"
    assert mask.text("Authorization: Basic YSAicXVvdGVkIiBwYXNzL3dvcmQ=") == "Authorization: Basic ***"
    assert mask.value({"a": ['a "quoted" pass/word', 5, None]}) == {"a": ["***", 5, None]}


@pytest.mark.parametrize("user", ["", "a", "me", "you"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_masked_where_it_is_encoded_within_something_longer(
    user: str, encode: Callable[[bytes], bytes]
) -> None:
    # of which base64 makes both of its other characters, at each of three places
    secret = "\u00ff\u00fe>>>???~~~\u00fb\u00ef\u00be"
    shown = Mask([secret]).text(encode(f"{user}:{secret}@host".encode()).decode())
    own = [encode(bytes(before) + secret.encode()).decode()[3:-4] for before in range(3)]
    assert "***" in shown
    assert not any(form[at : at + 5] in shown for form in own for at in range(len(form) - 4))


def test_a_secret_that_is_no_utf_8_is_given_and_masked(tmp_path: Path) -> None:
    data = b"no-utf-8-\xff\xfe-key"
    (tmp_path / "key").write_bytes(data)
    found = Vault({"key": ("*",)}, tmp_path, {}).given(["key"], {}, "a", registered=False)
    assert os.fsencode(found.env["JOBSTREAM_SECRET_KEY"]) == data
    masking = found.mask.stream()
    assert masking.feed(b"it is " + data + b"!") + masking.end() == b"it is ***!"


def test_each_line_of_a_key_is_masked() -> None:
    mask = Mask(["-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEEFFFF\n-----END KEY-----\n"])
    assert mask.text("DDDDEEEEFFFF") == "***"


_FORMS = st.lists(st.text("ab", min_size=6, max_size=10), min_size=1, max_size=3)


@given(_FORMS, st.lists(st.text("abc", max_size=12), max_size=8), st.data())
def test_however_output_is_cut_no_whole_secret_comes_through_and_all_else_does(
    secrets: list[str], parts: list[str], data: st.DataObject
) -> None:
    whole = "".join(part + (data.draw(st.sampled_from(["", *secrets]))) for part in parts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    masking = Mask(secrets).stream()
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    shown = b"".join([masking.feed(piece) for piece in pieces] + [masking.end()])
    at_once = Mask(secrets).stream()
    assert shown == at_once.feed(whole) + at_once.end()
    for part in shown.split(b"***"):
        assert not any(secret.encode() in part for secret in secrets)
        assert part in whole


def test_output_without_secrets_is_held_back_by_nothing() -> None:
    masking = Mask([SECRET]).stream()
    assert masking.feed(b"progress 5%\r") == b"progress 5%\r"
    assert Mask().stream().feed(b"any") == b"any"


def test_neither_the_files_nor_who_looks_on_sees_a_secret(tmp_path: Path) -> None:
    seen: list[bytes] = []

    class Observer:
        def told(self, stream: str, data: bytes) -> None:
            seen.append(data)

        def ended(self) -> None: ...

    outputs = Outputs(tmp_path / "out", tmp_path / "err", None, Observer(), Mask([SECRET]))
    for byte in f"login {SECRET} done {SECRET[:5]}".encode():
        outputs.write("stdout", bytes([byte]))
    outputs.close()
    assert (tmp_path / "out").read_text() == b"".join(seen).decode() == f"login *** done {SECRET[:5]}"
