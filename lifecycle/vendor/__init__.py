"""The vendor's plane: the registry, the planner, the signer, and what it tells people.

It never imports ``lifecycle.instance``: what a customer's instance holds, it cannot read.
"""
