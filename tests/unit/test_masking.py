"""What of a URL may be shown."""

import pytest

from pipeline.masking import masked, without_secrets


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
