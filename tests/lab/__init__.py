"""A laboratory for the tests: private network namespaces, synthetic flows, a real Docker host, independent judges.

Nothing here imports natop, so that a fault of the product cannot hide in the tools that judge it.
"""
