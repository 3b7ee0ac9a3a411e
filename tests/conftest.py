"""What all tests share: the laboratory's fixtures and the rule about layers that cannot run."""

pytest_plugins = ["tests.lab.layers"]
