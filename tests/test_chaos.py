"""A year on PostgreSQL whose workers are killed, connections cut and server stopped ends as one
that nobody disturbed; ``python -m bench.chaos`` plays the same with many more customers."""

from __future__ import annotations

import os

from bench.chaos import Play, faults, one_year


def test_a_disturbed_year_ends_as_an_undisturbed_one() -> None:
    seed = int(os.environ.get("PUSHCERT_CHAOS_SEED", "20270104"))
    print(f"seed {seed}")
    play = Play(customers=12, workers=4, days=360, step_days=15, seed=seed, stops=3, minutes=15)
    calm = one_year(play, harmed=False, say=print)
    harmed = one_year(play, harmed=True, say=print)
    assert faults(calm, harmed) == []
    assert harmed.harm.stops == 3
    assert harmed.harm.kills > 0
    assert len(harmed.arrived) > 40
