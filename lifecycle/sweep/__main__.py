"""The process that the workers of a sweep are forked from: ``python -m lifecycle.sweep``.

Started by ``pool``, and by nobody else. It loads what a worker needs once, so that the workers
share that memory, and stays with them to the end: until then it has no threads, no event loop
and no open files, which is what makes forking safe.
"""

import sys

# httpx brings its own command line where click and rich are at hand. It goes without if that
# cannot be loaded, and is then a third smaller.
sys.modules["httpx._main"] = None  # type: ignore[assignment]

if __name__ == "__main__":
    from lifecycle.sweep.nursery import tend

    tend(*(int(number) for number in sys.argv[1:]))
