"""Whatever the network does between the planes, the end is that of the undisturbed run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.lab.network_faults import NetworkFault
from lifecycle.pki.keys import generate_key
from tests.serve.disturbed import (
    DATABASE_AWAY,
    DAY,
    RESTART,
    STEPS,
    Disturbance,
    Ending,
    Scene,
)

STALLS = (NetworkFault.STALL, NetworkFault.STALL_AFTERWARDS)
PATIENCE = 0.5
"""How long an instance waits for an answer where some do not come, in seconds."""


@pytest.fixture(scope="module")
def keys() -> tuple[RSAPrivateKey, ...]:
    return tuple(generate_key() for _ in range(3))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("scene")).open() as scene:
        yield scene


@pytest.fixture
def pooled_keys(keys: tuple[RSAPrivateKey, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Making keys is another test's matter; a play needs two."""
    pool = itertools.cycle(keys)
    monkeypatch.setattr("lifecycle.instance.keys.generate_key", lambda: next(pool))


@pytest.fixture(scope="module")
def undisturbed(scene: Scene) -> Ending:
    return scene.play(Disturbance())


def test_the_undisturbed_run_is_a_whole_year(undisturbed: Ending) -> None:
    vendor = undisturbed.vendor
    assert vendor["renewals"] == {
        ("canary", "fulfilled", "initial", None): 1,
        ("canary", "delivered", "expiry", None): 1,
        ("acme", "fulfilled", "initial", None): 1,
        ("acme", "fulfilled", "expiry", None): 1,
    }
    assert vendor["last verdict"] == ["isolated"]
    assert vendor["credentials"] != {}
    assert {action for action, subject in undisturbed.audited if subject == "acme"} >= {
        "certificate_activated",
        "certificate_received",
        "credential_rotated",
        "csr_received",
        "instance_enrolled",
        "isolation_isolated",
        "request_delivered",
    }
    assert undisturbed.mails


def test_the_undisturbed_run_ends_as_itself(
    scene: Scene, undisturbed: Ending, pooled_keys: None
) -> None:
    assert scene.play(Disturbance()).differences(undisturbed) == {}


def now_and_then(kind: NetworkFault, share: float) -> tuple[NetworkFault | None, ...]:
    rng = random.Random(str(kind))  # noqa: S311  (the same faults in every run)
    return tuple(kind if rng.random() < share else None for _ in range(400))


@pytest.mark.parametrize("kind", [k for k in NetworkFault if k not in STALLS])
def test_one_kind_of_fault_now_and_then(
    scene: Scene, undisturbed: Ending, pooled_keys: None, kind: NetworkFault
) -> None:
    assert scene.play(Disturbance(faults=now_and_then(kind, 0.4))).differences(undisturbed) == {}


@pytest.mark.parametrize("kind", STALLS)
def test_answers_that_never_come_are_given_up(
    scene: Scene, undisturbed: Ending, pooled_keys: None, kind: NetworkFault
) -> None:
    disturbance = Disturbance(faults=now_and_then(kind, 0.1), timeout=PATIENCE)
    assert scene.play(disturbance).differences(undisturbed) == {}


@pytest.mark.parametrize("kind", [NetworkFault.TWICE, NetworkFault.AGAIN_LATER])
def test_every_message_comes_twice(
    scene: Scene, undisturbed: Ending, pooled_keys: None, kind: NetworkFault
) -> None:
    assert scene.play(Disturbance(faults=(kind,) * 400)).differences(undisturbed) == {}


@pytest.mark.parametrize("days", [-1, 1])
def test_an_instance_whose_clock_is_a_day_off(
    scene: Scene, undisturbed: Ending, pooled_keys: None, days: int
) -> None:
    assert scene.play(Disturbance(skew=days * DAY)).differences(undisturbed) == {}


def test_an_instance_that_is_offline_for_ten_weeks(
    scene: Scene, undisturbed: Ending, pooled_keys: None
) -> None:
    assert scene.play(Disturbance(offline=True)).differences(undisturbed) == {}


@pytest.mark.parametrize("incident", [RESTART, DATABASE_AWAY])
def test_an_incident_at_the_vendors_before_every_step(
    scene: Scene, undisturbed: Ending, pooled_keys: None, incident: str
) -> None:
    incidents = dict.fromkeys(range(STEPS), incident)
    assert scene.play(Disturbance(incidents=incidents)).differences(undisturbed) == {}


@settings(
    max_examples=8,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    faults=st.lists(
        st.none() | st.sampled_from([k for k in NetworkFault if k not in STALLS]), max_size=120
    ),
    skew=st.sampled_from([-DAY, timedelta(), DAY]),
    incidents=st.dictionaries(
        st.integers(0, STEPS - 1), st.sampled_from([RESTART, DATABASE_AWAY]), max_size=3
    ),
    offline=st.booleans(),
)
def test_any_mixture_of_them(
    scene: Scene,
    undisturbed: Ending,
    pooled_keys: None,
    faults: list[NetworkFault | None],
    skew: timedelta,
    incidents: dict[int, str],
    offline: bool,
) -> None:
    disturbance = Disturbance(tuple(faults), skew, incidents, offline)
    assert scene.play(disturbance).differences(undisturbed) == {}
