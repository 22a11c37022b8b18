"""The MDM servers that customers run: what their APIs, dumps and folders say and take.

Written from their public documentation and source (FACTS.md). Either plane may ask them; nothing
here knows a plane, a vault or the registry.
"""
