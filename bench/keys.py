"""Many RSA keys in little time. NOT for use outside of benchmarks and load tests.

Making an RSA 2048 key takes about 70 ms, nearly all of it the search for two primes. Here the
primes come from a pool and each key is a pair of them: all keys are different, and all are
broken by a greatest common divisor. Signing with them costs what signing costs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from cryptography.hazmat.primitives.asymmetric import rsa

_E = 65537


def keys(count: int) -> Iterator[rsa.RSAPrivateKey]:
    """``count`` keys of 2048 bits, no two the same."""
    primes: list[int] = []
    while len(primes) * (len(primes) - 1) // 2 < count or len(primes) < 2:
        numbers = rsa.generate_private_key(_E, 2048).private_numbers()
        primes += [numbers.p, numbers.q]
    for p, q in itertools.islice(itertools.combinations(primes, 2), count):
        yield _key(p, q)


def _key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(_E, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(_E, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)
