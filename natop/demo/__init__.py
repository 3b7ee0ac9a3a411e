"""A small NAT host in private namespaces, with traffic and an Engine that tells of it; it needs no Docker."""
