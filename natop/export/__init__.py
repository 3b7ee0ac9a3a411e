"""What natop writes: snapshots and findings as JSON, CSV, Markdown and text."""

Json = dict[str, object]
"""What becomes an object of a JSON document."""
