"""Flows joined with containers: whose each flow is, and which NAT rule takes what a network sends out."""
