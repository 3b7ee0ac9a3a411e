"""Tables of containers, flows and probes: their columns, order, filters and groups, for the screen and for files."""
