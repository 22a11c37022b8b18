"""Deploying: bringing the active certificate and its key to where the MDM server reads them.

Level-triggered, and apart from activation: the vault has a record for each target that says for
which certificate it was last deployed and verified; whatever is not at the active one is owed,
tried again for as long as it takes, and told to the vendor.
"""
