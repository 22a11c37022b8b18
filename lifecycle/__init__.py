"""pushcert: the lifecycle of MDM push certificates, from CSR to proven isolation."""
