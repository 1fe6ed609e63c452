"""The registry: artefacts that never change, names that people move, and a pin that overrules."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.serving import signing
from fixtures.serving.shelf import CHAMPION, KNOWN_GOOD, Refused, Shelf, Unknown
from fixtures.serving.signing import StampError
from tests.serving.registering import DAY_S, Furnished, furnished, serve
from tests.serving.rig import TOKEN, Rig, call, metric, rig

SAID = {"who": "ann", "why": "a test"}
HOSTILE = (
    *("..", "../state.json", "%2e%2e", "..%2fstate.json", "a" * 12 + "/..", "0" * 11, "0" * 13),
    *("0123456789AB", "", "/etc/passwd", "....", "\0" * 12),
)


@pytest.fixture
def made(tmp_path: Path) -> Furnished:
    return furnished(tmp_path)


def test_a_pin_overrules_the_champion_and_both_survive_a_restart(made: Furnished) -> None:
    new, old = made.versions
    shelf = Shelf(made.root, made.public)
    assert shelf.served == (CHAMPION, new)
    shelf.name(CHAMPION, old, **SAID)
    assert shelf.served == (CHAMPION, old)
    shelf.pin(True, **SAID)
    assert shelf.served == (KNOWN_GOOD, new)
    again = Shelf(made.root, made.public)
    assert again.served == (KNOWN_GOOD, new)
    assert [(change["what"], change["who"]) for change in again.state.history] == [
        (CHAMPION, "ann"),
        ("pin", "ann"),
    ]
    assert again.state.history[0]["was"] == new
    again.pin(False, **SAID)
    assert again.served == (CHAMPION, old)


def test_doing_what_is_done_already_changes_nothing(made: Furnished) -> None:
    shelf = Shelf(made.root, made.public)
    shelf.name(CHAMPION, made.versions[0], **SAID)
    shelf.pin(False, **SAID)
    assert shelf.state.history == ()


def test_a_name_is_moved_only_from_where_it_was_thought_to_be(made: Furnished) -> None:
    new, old = made.versions
    shelf = Shelf(made.root, made.public)
    with pytest.raises(Refused, match=f"champion is {new}"):
        shelf.name(CHAMPION, old, was=old, **SAID)
    shelf.name(CHAMPION, old, was=new, **SAID)
    assert shelf.served == (CHAMPION, old)


def test_what_is_not_there_or_not_vouched_for_cannot_be_promoted(made: Furnished) -> None:
    shelf = Shelf(made.root, signing.new_key()[1])
    with pytest.raises(StampError, match="not signed"):
        shelf.name(CHAMPION, made.versions[1], **SAID)
    shelf = Shelf(made.root, made.public)
    with pytest.raises(Unknown):
        shelf.name(CHAMPION, "0123456789ab", **SAID)
    with pytest.raises(Unknown, match="no alias"):
        shelf.name("latest", made.versions[1], **SAID)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_in_a_version_or_a_file_name_reaches_nothing(name: str, made: Furnished) -> None:
    shelf = Shelf(made.root, None)
    with pytest.raises(Unknown):
        shelf.file(name, "manifest.json")
    with pytest.raises(Unknown):
        shelf.file(made.versions[0], name)
    with pytest.raises(Unknown):
        shelf.envelope(name)
    with pytest.raises(Unknown):
        shelf.name(CHAMPION, name, **SAID)


def test_a_stamp_is_renewed_forward_only_and_only_for_the_same_files(made: Furnished) -> None:
    from dataclasses import replace

    shelf = Shelf(made.root, made.public)
    version = made.versions[1]
    held = shelf.stamp(version)

    def renewed(**changes: object) -> dict[str, object]:
        return signing.sign(replace(held, **changes), made.private)  # type: ignore[arg-type]

    later_s = held.validated_at_s + DAY_S
    assert shelf.renew(version, renewed(validated_at_s=later_s)).validated_at_s == later_s
    with pytest.raises(Refused, match="no newer"):
        shelf.renew(version, renewed(validated_at_s=later_s))
    other = {**held.files, "manifest.json": "0" * 64}
    with pytest.raises(Refused, match="as it is kept"):
        shelf.renew(version, renewed(validated_at_s=later_s + 1, files=other))
    forged = signing.sign(replace(held, validated_at_s=later_s + 1), signing.new_key()[0])
    with pytest.raises(StampError):
        shelf.renew(version, forged)
    assert shelf.stamp(version).validated_at_s == later_s


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, Furnished, str]]:
    folder = tmp_path_factory.mktemp("registry")
    with rig(folder) as running:
        made = furnished(folder)
        where = serve(running, made)
        running.ready("registry")
        yield running, made, where


def test_the_service_names_the_version_and_serves_its_files(
    served: tuple[Rig, Furnished, str],
) -> None:
    _, made, where = served
    new, old = made.versions
    status, _, body = call("GET", where, "/v1/models/champion/resolve")
    assert (status, body["version"], body["alias"]) == (200, new, CHAMPION)
    assert signing.opened(body["stamp"], made.public).version == new
    _, _, manifest = call("GET", where, f"/v1/models/champion/versions/{old}/manifest.json")
    assert manifest["manifest"]["trained_until"] == "2013-02-28"
    _, _, all_of_it = call("GET", where, "/v1/models/champion")
    assert [one["version"] for one in all_of_it["versions"]] == [new, old]
    assert metric(where, "model_age_seconds", model="champion") < 600
    assert metric(where, "registry_alias", alias=CHAMPION, version=new) == 1


def test_the_service_moves_names_and_pins_for_who_has_the_token(
    served: tuple[Rig, Furnished, str],
) -> None:
    _, made, where = served
    new, old = made.versions
    path, body = f"/admin/aliases/{CHAMPION}", {"version": old, **SAID}
    assert call("PUT", where, path, body)[0] == 401
    assert call("PUT", where, "/admin/pin", {"pinned": True, **SAID})[0] == 401
    assert call("PUT", where, path, {"version": old}, token=TOKEN)[0] == 400
    assert call("PUT", where, path, {**body, "was": old}, token=TOKEN)[0] == 409
    assert call("PUT", where, path, {**body, "version": "0" * 12}, token=TOKEN)[0] == 404
    assert call("PUT", where, path, {**body, "version": "../../x"}, token=TOKEN)[0] == 404
    assert call("PUT", where, path, body, token=TOKEN)[0] == 200
    assert metric(where, "model_age_seconds", model="champion") > DAY_S - 600
    assert call("PUT", where, "/admin/pin", {"pinned": "yes", **SAID}, token=TOKEN)[0] == 400
    assert call("PUT", where, "/admin/pin", {"pinned": True, **SAID}, token=TOKEN)[0] == 200
    _, _, resolved = call("GET", where, "/v1/models/champion/resolve")
    assert (resolved["version"], resolved["alias"]) == (new, KNOWN_GOOD)
    # a pin mends the service; the wrong name behind it goes on being seen
    assert metric(where, "model_age_seconds", model="champion") > DAY_S - 600
    assert metric(where, "registry_pinned") == 1
    assert call("PUT", where, path, {"version": new, **SAID}, token=TOKEN)[0] == 200
    assert call("PUT", where, "/admin/pin", {"pinned": False, **SAID}, token=TOKEN)[0] == 200


@pytest.mark.parametrize("name", ["..%2f..%2fstate.json", "%2e%2e", "..%2fsigning.key"])
def test_the_service_serves_nothing_outside_its_artefacts(
    name: str, served: tuple[Rig, Furnished, str]
) -> None:
    _, made, where = served
    for path in (f"{name}/manifest.json", f"{made.versions[0]}/{name}", f"{name}/stamp"):
        status, _, body = call("GET", where, f"/v1/models/champion/versions/{path}")
        assert status == 404, (path, body)
        assert made.private not in json.dumps(body)


def test_the_refresher_vouches_for_what_is_approved_and_for_nothing_else(tmp_path: Path) -> None:
    with rig(tmp_path) as running:
        made = furnished(tmp_path)
        new, old = made.versions
        where = serve(running, made)
        key = str(made.key_file)
        refresher = running.service(
            "refresher", "refresher", registry=where, key=key, interval_s=0.1
        )
        running.ready("registry", "refresher")

        def validated_at_s(version: str) -> float:
            _, _, envelope = call("GET", where, f"/v1/models/champion/versions/{version}/stamp")
            return signing.opened(envelope, made.public).validated_at_s

        old_s = validated_at_s(old)
        path = f"/admin/aliases/{CHAMPION}"
        assert call("PUT", where, path, {"version": old, **SAID}, token=TOKEN)[0] == 200
        first_s = validated_at_s(new)
        until_s = time.monotonic() + 20
        while validated_at_s(new) <= first_s:
            assert time.monotonic() < until_s, running.log("refresher")
            time.sleep(0.05)
        assert validated_at_s(old) == old_s
        off = {"enabled": False, **SAID}
        assert call("PUT", refresher, "/admin/schedule", off)[0] == 401
        assert call("PUT", refresher, "/admin/schedule", off, token=TOKEN)[0] == 200
        rounds = metric(refresher, "refresh_rounds_total", outcome="ok")
        time.sleep(0.5)  # five rounds that are not made
        assert metric(refresher, "refresh_rounds_total", outcome="ok") <= rounds + 1
        assert metric(refresher, "refresh_enabled") == 0
        assert running.end("refresher") == 0
        assert made.private not in running.log("refresher")
