"""Benchmarks: each prints its figures beside a reference that was measured in the same run."""
