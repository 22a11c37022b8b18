"""What crosses the boundary between the vendor's and the customer's plane, and nothing else."""
