"""A deploy target that is a NanoMDM server."""

from __future__ import annotations

from lifecycle.instance.deploy.plan import About
from lifecycle.instance.deploy.sameness import require_same
from lifecycle.mdm_servers.nanomdm import NanoMdm
from lifecycle.pki.pair import Form, Pair, render


class NanoMdmTarget:
    """A ``Target`` that is a NanoMDM server; it has room for every customer's topic.

    Args:
        about: what is known of it.
        server: its API.
    """

    def __init__(self, about: About, server: NanoMdm) -> None:
        self._about = about
        self._server = server

    @property
    def about(self) -> About:
        """See ``Target.about``."""
        return self._about

    def deploy(self, pair: Pair) -> None:
        """See ``Target.deploy``; raises as ``NanoMdm.put`` and ``require_same``."""
        require_same(self._server.put(render(pair, Form.PEM)), pair, self._about.place)
        self.verify(pair)

    def verify(self, pair: Pair) -> None:
        """See ``Target.verify``. A NanoMDM that cannot say what it has is believed."""
        found = self._server.get(str(pair.certificate.topic))
        if found is not None:
            require_same(found, pair, self._about.place)
