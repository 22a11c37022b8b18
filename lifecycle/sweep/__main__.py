"""``python -m lifecycle.sweep CELLS PIPE…``: a group of workers; started by ``pool`` alone."""

import sys

# httpx brings its own command line where click and rich are at hand. It goes without if that
# cannot be loaded, and is then a third smaller.
sys.modules["httpx._main"] = None  # type: ignore[assignment]

if __name__ == "__main__":
    from lifecycle.sweep.group import serve

    shared, *given = (int(number) for number in sys.argv[1:])
    serve(shared, given)
