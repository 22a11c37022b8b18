from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lifecycle.errors import Refused
from lifecycle.instance.export import save
from lifecycle.instance.push import push

if TYPE_CHECKING:
    from pathlib import Path

    from tests.instance.conftest import World


@pytest.fixture
def acme(world: World) -> World:
    """A customer with an active certificate and three devices."""
    world.renew()
    for n in range(3):
        world.import_device(f"D{n}")
    return world


class TestPush:
    def test_one_device(self, acme: World) -> None:
        (answer,) = push(acme.vault, acme.apns, ["D1"])
        assert (answer.udid, answer.delivered) == ("D1", True)

    def test_all_devices_of_the_topic_that_are_not_gone(self, acme: World) -> None:
        acme.apns.answers["D0"] = (410, "Unregistered")
        assert [a.udid for a in push(acme.vault, acme.apns)] == ["D0", "D1", "D2"]
        assert [a.udid for a in push(acme.vault, acme.apns)] == ["D1", "D2"]

    def test_the_order_asked_for_is_kept_and_repetitions_are_dropped(self, acme: World) -> None:
        assert [a.udid for a in push(acme.vault, acme.apns, ["D2", "D0", "D2"])] == ["D2", "D0"]

    def test_devices_are_opened_in_batches(
        self, acme: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lifecycle.instance.push.BATCH", 2)
        assert [a.udid for a in push(acme.vault, acme.apns)] == ["D0", "D1", "D2"]

    def test_an_unknown_device_stops_all(self, acme: World) -> None:
        with pytest.raises(Refused) as refused:
            push(acme.vault, acme.apns, ["D0", "X", "Y"])
        assert refused.value.codes == ("device_unknown", "device_unknown")
        assert acme.apns.pushed == []

    def test_without_certificate_or_device_it_is_refused(self, world: World) -> None:
        with pytest.raises(Refused) as refused:
            push(world.vault, world.apns)
        assert refused.value.codes == ("no_active_certificate",)
        world.renew()
        with pytest.raises(Refused) as refused:
            push(world.vault, world.apns)
        assert refused.value.codes == ("no_devices",)


class TestExport:
    def test_a_saved_export_is_the_owners_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "acme.pem"
        path.write_text("old")
        path.chmod(0o644)
        save(path, b"new")
        assert path.read_bytes() == b"new"
        assert path.stat().st_mode & 0o777 == 0o600
