"""Backups: what an archive is, how it is encrypted, and how it is looked into.

It knows neither plane: ``lifecycle.registry_backup`` puts the vendor's into one,
``lifecycle.instance.vault_backup`` a vault.
"""
