"""A deploy target that is a MicroMDM server."""

from __future__ import annotations

from lifecycle.instance.deploy.plan import About
from lifecycle.instance.deploy.sameness import require_same
from lifecycle.mdm_servers.micromdm import MicroMdm
from lifecycle.pki.pair import Form, KeyFormat, Options, Pair, render


class MicroMdmTarget:
    """A ``Target`` that is a MicroMDM server; it has one push certificate.

    Args:
        about: what is known of it.
        server: its API.
    """

    def __init__(self, about: About, server: MicroMdm) -> None:
        self._about = about
        self._server = server

    @property
    def about(self) -> About:
        """See ``Target.about``."""
        return self._about

    def deploy(self, pair: Pair) -> None:
        """See ``Target.deploy``; raises as ``MicroMdm.put``, ``get`` and ``require_same``."""
        key = render(pair, Form.KEY, Options(key_format=KeyFormat.PKCS1))
        self._server.put(render(pair, Form.CERTIFICATE), key)
        self.verify(pair)

    def verify(self, pair: Pair) -> None:
        """See ``Target.verify``."""
        require_same(self._server.get(), pair, self._about.place)
