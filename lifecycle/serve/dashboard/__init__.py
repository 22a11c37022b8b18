"""The ops dashboard: pages for people, rendered on the server, that work without a script.

``routes.add_dashboard`` puts it into an application. A page reads; the few actions are forms
that first say what they will do.
"""
