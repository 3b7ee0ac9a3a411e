"""An error that nobody expected, in words for who reports it."""

from pathlib import Path

from natop.text import clean

PACKAGE = Path(__file__).parent


def told(error: BaseException) -> str:
    """That it is natop's fault, and what it is."""
    return clean(f"a defect of natop: {type(error).__name__}: {' '.join(str(error).split())}")


def place(error: BaseException) -> str:
    """Where in natop it was raised."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if Path(each.filename).is_relative_to(PACKAGE)] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} in {ours[-1].name}" if ours else "unknown"
    return f"please report it, with this place: {where}"
