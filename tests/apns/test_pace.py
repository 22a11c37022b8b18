"""The pace of new connections: never above its ceiling, and slower for all after trouble."""

from __future__ import annotations

import asyncio
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.apns.pace import RECOVERY, SLOWEST, Ceiling, SharedPace


class Time:
    """Moves by sleeping alone."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def pace(time: Time, total: float = 100, each: float = 50) -> SharedPace:
    return SharedPace(Ceiling(total, each), monotonic=time.monotonic, sleep=time.sleep)


def enter(pace: SharedPace, address: str = "a") -> None:
    asyncio.run(pace.enter(address))


@given(st.lists(st.sampled_from(["a", "b", "c", "trouble"]), min_size=150, max_size=250))
def test_no_second_sees_more_connections_than_the_ceilings_allow(steps: list[str]) -> None:
    time = Time()
    paced = pace(time)
    made: list[tuple[float, str]] = []
    for step in steps:
        if step == "trouble":
            paced.trouble()
        else:
            enter(paced, step)
            made.append((time.now, step))
    for limit, those in (
        (100, [at for at, _ in made]),
        *((50, [at for at, address in made if address == a]) for a in "abc"),
    ):
        for first, at in enumerate(those):
            assert bisect_left(those, at + 1 - 1e-6) - first <= limit


def test_trouble_at_one_connection_slows_all_and_passes() -> None:
    time = Time()
    paced = pace(time)
    assert paced.rate == 100
    paced.trouble()
    assert paced.rate == 50
    paced.trouble()  # those that were under way meet the same trouble
    assert paced.rate == 50
    time.now += RECOVERY / 4
    assert 74 < paced.rate < 76
    time.now += RECOVERY
    assert paced.rate == 100


def test_endless_trouble_does_not_stop_it() -> None:
    time = Time()
    paced = pace(time)
    for _ in range(100):
        paced.trouble()
        time.now += 1.0
    assert 100 * SLOWEST <= paced.rate < 10


def test_those_that_share_the_cells_share_the_pace() -> None:
    time = Time()
    one = pace(time)
    other = SharedPace(
        Ceiling(100, 50),
        cells=one._cells,
        lock=one._lock,
        monotonic=time.monotonic,
        sleep=time.sleep,
    )
    one.trouble()
    assert other.rate == 50
    enter(one, "x")
    before = time.now
    enter(other, "y")
    assert time.now - before > 0.019
