"""A stamp is believed when the right key signed exactly these bytes, and never otherwise."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from fixtures.serving import signing
from fixtures.serving.signing import Stamp, StampError, opened, sign

PRIVATE, PUBLIC = signing.new_key()
STAMP = Stamp("champion", "0123456789ab", {"manifest.json": "aa"}, "2013-08-31", 12.5, "refresher")


def test_a_stamp_comes_back_as_it_was_signed() -> None:
    assert opened(sign(STAMP, PRIVATE), PUBLIC) == STAMP
    assert signing.public_of(PRIVATE) == PUBLIC


def test_a_stamp_by_another_key_is_refused() -> None:
    other, _ = signing.new_key()
    with pytest.raises(StampError, match="not signed by key"):
        opened(sign(STAMP, other), PUBLIC)
    assert opened(sign(STAMP, other), None) == STAMP  # whoever asks for no signature gets none


def test_a_changed_stamp_is_refused() -> None:
    envelope = sign(STAMP, PRIVATE)
    forged = sign(replace(STAMP, validated_at_s=1e10), PRIVATE)
    with pytest.raises(StampError, match="not signed"):
        opened({**envelope, "payload": forged["payload"]}, PUBLIC)
    with pytest.raises(StampError, match="not signed"):
        opened({**envelope, "signatures": []}, PUBLIC)


def test_the_signature_is_over_the_pre_authentication_encoding_of_dsse() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    envelope = sign(STAMP, PRIVATE)
    payload = base64.b64decode(envelope["payload"])
    kind = signing.TYPE.encode()
    encoded = b" ".join(
        (b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload)
    )
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(PRIVATE))
    assert base64.b64decode(envelope["signatures"][0]["sig"]) == key.sign(encoded)
    assert json.loads(payload)["version"] == STAMP.version


@pytest.mark.parametrize(
    "envelope",
    [
        None,
        [],
        {},
        {"payloadType": "x"},
        {"payloadType": signing.TYPE, "payload": "?", "signatures": []},
        {"payloadType": signing.TYPE, "payload": "e30=", "signatures": []},
        {"payloadType": signing.TYPE, "payload": "W10=", "signatures": [{"sig": "AA=="}]},
        {**sign(STAMP, PRIVATE), "signatures": 7},
        {**sign(STAMP, PRIVATE), "signatures": [{"sig": "AA=="}, None]},
    ],
)
def test_what_is_no_stamp_is_refused(envelope: Any) -> None:
    with pytest.raises(StampError):
        opened(envelope, PUBLIC)
