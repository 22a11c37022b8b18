"""``serve``: the vendor's plane over HTTP, for instances, for ops, for monitoring.

The MDM signing key is not loaded here, and no vault is opened: import rules hold it to that.
"""
