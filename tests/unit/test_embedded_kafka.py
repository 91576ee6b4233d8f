"""What of the embedded broker needs no broker."""

import base64

from ops.embedded.kafka import fresh_id


def test_a_fresh_cluster_id_is_16_bytes_and_never_looks_like_an_option() -> None:
    ids = {fresh_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(base64.urlsafe_b64decode(f"{one}==")) for one in ids} == {16}
    assert not [one for one in ids if one.startswith("-")]
