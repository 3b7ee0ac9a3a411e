"""The live view. `terminal` and nothing else here may be imported before a terminal has been found fit for it."""
