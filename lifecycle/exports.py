"""What a package offers at its top: each name is loaded from its module when it is asked for.

So ``from lifecycle.pki import sign_request`` works, while whoever needs one module of a package
pays for that module alone (PEP 562): ``pushcert --help`` and ``report`` start as fast as before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

GetAttribute = Callable[[str], object]
Directory = Callable[[], list[str]]


def offer(
    package: str, names: Mapping[str, tuple[str, ...]], *, extra: str | None = None
) -> tuple[GetAttribute, Directory]:
    """``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``__name__``.
        names: the names, by the module of the package that has them.
        extra: of pushcert, without which the modules may lack a library.

    Raises:
        ModuleNotFoundError: (from ``__getattr__``) a library is missing; names the extra.
    """
    homes = {name: module for module, offered in names.items() for name in offered}

    def get(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(f"{package}.{home}"), name)
        except ModuleNotFoundError as missing:
            if extra is None or (missing.name or "").startswith("lifecycle"):
                raise
            raise ModuleNotFoundError(
                f"{package}.{name} needs {missing.name}, which is not installed."
                f" Run `pip install 'pushcert[{extra}]'`.",
                name=missing.name,
            ) from None
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return get, lambda: sorted(homes)
