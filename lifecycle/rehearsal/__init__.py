"""A vendor's year, played through the real code; only clock, portal and gateway are the lab's.

What ``pushcert lab run`` runs. It may use both planes and the lab; nothing uses it but the
command line and the tests.
"""
