"""How the property tests search: no deadline, nothing written to disk, and a failure that can be repeated."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("quick", settings.get_profile("unit"), max_examples=20)
"""For `make check`; `make test` searches on."""
settings.load_profile("unit")
