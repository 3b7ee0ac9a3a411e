"""What natop writes: snapshots and findings as JSON, CSV, Markdown and text."""
