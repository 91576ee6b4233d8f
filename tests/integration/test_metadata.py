"""The metadata service of the cloud: asked with a token, in a bounded time, and never for more than facts."""

from collections.abc import Callable

import pytest

from agents.worker import metadata
from agents.worker.metadata import Interruption, Item, Metadata, MetadataError, facts
from tests.integration.metadata_server import TOKEN_PATH, VALUES, Handler, metadata_server, seconds_of

FACTS = {
    "ec2_instance_id": "i-0123456789abcdef0",
    "ec2_instance_type": "c7g.2xlarge",
    "ec2_placement_availability_zone": "us-west-2b",
    "ec2_public_hostname": "ec2-54-70-1-2.us-west-2.compute.amazonaws.com",
    "ec2_public_ipv4": "54.70.1.2",
    "ec2_instance_life_cycle": "spot",
}
NOTICE = '{"action": "terminate", "time": "2026-11-28T12:00:00Z"}'


def error_of(service: Metadata) -> str:
    with pytest.raises(MetadataError) as raised:
        facts(service)
    return str(raised.value)


def test_facts_are_asked_for_with_one_token_and_nothing_else_is() -> None:
    with metadata_server() as server:
        service = Metadata(server.url)
        assert facts(service) == FACTS
        assert service.interruption() is None
        assert server.paths("PUT") == [TOKEN_PATH]
        assert set(server.paths()) == {VALUES + item for item in Item}
        assert not any("iam" in path for path in server.paths())
        assert {headers["x-aws-ec2-metadata-token"] for how, _, headers in server.asked if how == "GET"} == {
            "token-1=="
        }


def test_a_token_that_is_not_good_any_more_is_replaced() -> None:
    with metadata_server() as server:
        service = Metadata(server.url)
        service.get(Item.ZONE)
        server.tokens.clear()
        assert service.get(Item.ZONE) == "us-west-2b"
        assert len(server.paths("PUT")) == 2


def test_a_server_that_takes_no_token_at_all_is_asked_no_more() -> None:
    def denies(request: Handler) -> bool:
        if request.command == "GET":
            request.say(401)
        return request.command == "GET"

    with metadata_server(denies) as server:
        assert "status 401" in error_of(Metadata(server.url))
        assert len(server.asked) == 4


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
def test_a_server_without_tokens_is_not_asked_for_values(status: int) -> None:
    def old(request: Handler) -> bool:
        request.say(status) if request.command == "PUT" else request.say(200, b"i-0123456789abcdef0")
        return True

    with metadata_server(old) as server:
        assert f"no token: status {status}" in error_of(Metadata(server.url))
        assert server.paths() == []


@pytest.mark.parametrize("token", [b"", b"<html>\r\nX: y</html>", b"\xff\xfe", b"t" * 5000])
def test_a_token_that_is_none_is_not_sent_back(token: bytes) -> None:
    def odd(request: Handler) -> bool:
        request.say(200, token)
        return True

    with metadata_server(odd) as server:
        assert "no token" in error_of(Metadata(server.url))
        assert server.paths() == []


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("way", [Handler.hang, Handler.drip])
def test_a_slow_server_is_given_up_soon_however_it_is_slow(method: str, way: Callable[[Handler], None]) -> None:
    def slow(request: Handler) -> bool:
        if request.command == method:
            way(request)
        return request.command == method

    with metadata_server(slow) as server:
        service = Metadata(server.url, patience=0.2)
        assert seconds_of(lambda: error_of(service)) < 5


def test_all_facts_together_are_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "LOOK_UP", 0.0)
    with metadata_server() as server:
        assert "not all was answered" in error_of(Metadata(server.url))


def test_nobody_there_is_an_error_at_once() -> None:
    with metadata_server() as server:
        url = server.url
    assert "ConnectionRefusedError" in error_of(Metadata(url))


def test_values_that_are_not_what_they_should_be_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with metadata_server() as server:
        server.values |= {
            "instance-id": "<html>welcome</html>",
            "instance-type": "x" * 1000,
            "public-ipv4": "169.254.169.254",
            "public-hostname": "host\r\nname",
        }
        kept = {"ec2_placement_availability_zone": "us-west-2b", "ec2_instance_life_cycle": "spot"}
        assert facts(Metadata(server.url)) == kept
    assert "instance-id is not what it should be" in caplog.text


@pytest.mark.parametrize("value", ["x" * 1_000_000, "bytes that are no ascii: é"])
def test_a_value_that_is_too_long_or_no_text_is_an_error(value: str) -> None:
    with metadata_server() as server:
        server.values["instance-id"] = value
        assert "instance-id" in error_of(Metadata(server.url))


def test_a_redirect_is_not_followed_and_no_proxy_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with metadata_server() as other:

        def redirects(request: Handler) -> bool:
            if request.command == "GET":
                request.say(302, Location=other.url + request.path)
            return request.command == "GET"

        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, other.url)
        with metadata_server(redirects) as server:
            assert "status 302" in error_of(Metadata(server.url))
        assert other.asked == []


def test_the_notice_says_what_will_be_done_and_when() -> None:
    with metadata_server() as server:
        server.values["spot/instance-action"] = NOTICE
        told = Metadata(server.url).interruption()
    assert told == Interruption("terminate", "2026-11-28T12:00:00Z")
    assert str(told) == "the machine is a spot instance that will terminate at 2026-11-28T12:00:00Z"


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "[]", "{}", '{"action": "rm -rf", "time": "2026-11-28T12:00:00Z"}', '{"action": "stop", "time": 1}',
     '{"action": "stop", "time": "soon"}', '{"action": ["stop"], "time": "2026-11-28T12:00:00Z"}'],
)  # fmt: skip
def test_what_is_no_notice_is_an_error_and_never_a_notice(text: str) -> None:
    with metadata_server() as server:
        server.values["spot/instance-action"] = text
        with pytest.raises(MetadataError, match="instance-action"):
            Metadata(server.url).interruption()


def test_an_answer_that_ends_early_is_none() -> None:
    def breaks_off(request: Handler) -> bool:
        if request.command == "GET":
            request.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 19\r\n\r\ni-01234567")
        return request.command == "GET"

    with metadata_server(breaks_off) as server:
        assert "ends early" in error_of(Metadata(server.url))
