"""Certificates, CSRs and push certificate requests as pure functions: no I/O, no clock."""
