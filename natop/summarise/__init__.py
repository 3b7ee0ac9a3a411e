"""The numbers that people look at: per container, NAT pool, network namespace and host, and their past."""
