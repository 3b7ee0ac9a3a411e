"""natop: what NAT and connection tracking do to the containers of a Docker host."""

__version__ = "0.1.0"
