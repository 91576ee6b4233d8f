"""What of a URL may be shown."""

import time

import pytest

from pipeline.masking import masked, masked_text, without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a/b.nc", "https://host/a/b.nc"),
        ("https://me:pw@host:8443/a?id=5&fmt=tif", "https://host:8443/a?id=5&fmt=tif"),
        ("sftp://me@host/a", "sftp://host/a"),
        ("https://b.s3/k?X-Amz-Algorithm=A&X-Amz-Credential=c&X-Amz-Signature=abc#f", None),
        ("https://h/k?sv=2024&sig=x%2Fy", "https://h/k?sv=***&sig=***"),
        ("https://h/k?" + "A" * 60, "https://h/k?***"),
        ("s3://bucket/key with space", "s3://bucket/key with space"),
        ("/a/plain/path", "/a/plain/path"),
        ("http://[bad", "(not a URL)"),
    ],
)
def test_user_password_and_signatures_are_not_shown(url: str, shown: str | None) -> None:
    if shown is None:
        assert masked(url) == "https://b.s3/k?X-Amz-Algorithm=A&X-Amz-Credential=***&X-Amz-Signature=***"
    else:
        assert masked(url) == shown


def test_an_error_message_that_repeats_the_url_shows_no_more_than_the_url() -> None:
    url = "https://me:s3cr3t@host/a?token=abc%2Fdef"
    text = without_secrets(f"can't get {url}: password s3cr3t, token abc/def", url)
    assert text == "can't get https://host/a?token=***: password ***, token ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"password": "a b", "n": 1}', '{"password": ***, "n": 1}'),
        (
            '{"payload": "{\\"db_password\\": \\"a b\\", \\"n\\": 1}"}',
            '{"payload": "{\\"db_password\\": ***, \\"n\\": 1}"}',
        ),
        ("{'secretKey': 'a', 'n': 1}", "{'secretKey': ***, 'n': 1}"),
        ('{"token": "cut off in the mid', '{"token": ***'),
        ("Authorization: Bearer abc.def; n=1", "Authorization: *** n=1"),
        ("x-api-key: abc", "x-api-key: ***"),
        ("api_key=abc&n=1", "api_key=***&n=1"),
        ("GET https://me:pw@h/a?sig=abc failed", "GET https://h/a?sig=*** failed"),
        ('{"author": "me", "tokens": 5}', '{"author": "me", "tokens": ***}'),
        ("no secrets here: a, b", "no secrets here: a, b"),
    ],
)
def test_in_a_text_of_any_origin_urls_and_what_is_named_like_a_secret_are_masked(text: str, shown: str) -> None:
    assert masked_text(text) == shown


def test_masking_takes_no_long_time_for_any_text() -> None:
    begun = time.process_time()
    for text in ("a" * 100_000, "secret" * 20_000, "://" * 40_000, '\\"' * 50_000, "auth=" + "'" * 100_000):
        masked_text(text)
    assert time.process_time() - begun < 5
