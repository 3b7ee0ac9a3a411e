"""Colours: natop's two themes, and a colour for each tone in any theme."""

from collections.abc import Mapping
from os import environ

from textual.theme import Theme

from natop.tui.tones import Tone

DARK = Theme(
    name="natop-dark",
    dark=True,
    primary="#6ea8dc",
    secondary="#b98bd3",
    success="#84bd7a",
    warning="#e2aa4d",
    error="#f07070",
    accent="#58b9c9",
    foreground="#cdd4de",
    background="#0f1319",
    surface="#0f1319",
    panel="#171d26",
    variables={
        "tone-plain": "#cdd4de",
        "tone-quiet": "#77828f",
        "tone-title": "#f2f5f9",
        "tone-name": "#e6ebf2",
        "tone-trend": "#8f6f3a",
        "cursor-background": "#24405f",
        "cursor-foreground": "#ffffff",
        "header-background": "#1a212b",
    },
)
LIGHT = Theme(
    name="natop-light",
    dark=False,
    primary="#1f5fa8",
    secondary="#8238a0",
    success="#2b7a33",
    warning="#9a5b00",
    error="#bf2626",
    accent="#0a7285",
    foreground="#2a3038",
    background="#fafaf8",
    surface="#fafaf8",
    panel="#eceef1",
    variables={
        "tone-plain": "#2a3038",
        "tone-quiet": "#6b7480",
        "tone-title": "#0b0f14",
        "tone-name": "#0b0f14",
        "tone-trend": "#c99a4e",
        "cursor-background": "#cfe0f3",
        "cursor-foreground": "#0b0f14",
        "header-background": "#e3e7ec",
    },
)

_OF_TONE = {
    Tone.ESTABLISHED: "success",
    Tone.OPENING: "accent",
    Tone.TIME_WAIT: "warning",
    Tone.TREND: "warning-darken-3",
    Tone.NOTICE: "warning",
    Tone.CLOSING: "secondary",
    Tone.ALARM: "error",
}
_ANSI = {
    "tone-plain": "ansi_default",
    "tone-quiet": "ansi_default",
    "tone-title": "ansi_default",
    "tone-name": "ansi_default",
    "tone-trend": "ansi_yellow",
    "tone-notice": "ansi_yellow",
    "tone-established": "ansi_green",
    "tone-opening": "ansi_cyan",
    "tone-time-wait": "ansi_yellow",
    "tone-closing": "ansi_magenta",
    "tone-alarm": "ansi_red",
    "cursor-background": "ansi_default",
    "cursor-foreground": "ansi_default",
    "header-background": "ansi_default",
}


def tone_variables(variables: Mapping[str, str], ansi: bool) -> dict[str, str]:
    """The style sheet's variables for a theme, from the colours that the theme defines."""
    if ansi:
        return dict(_ANSI)
    colours = {
        "tone-plain": variables["foreground"],
        "tone-quiet": variables["foreground-darken-3"],
        "tone-title": variables["foreground"],
        "tone-name": variables["foreground"],
        "cursor-background": variables["primary-muted"],
        "cursor-foreground": variables["foreground"],
        "header-background": variables["panel"],
    }
    colours |= {f"tone-{tone}": variables[name] for tone, name in _OF_TONE.items()}
    return colours | {name: variables[name] for name in colours if name in variables}


def first_theme(colour_system: str | None, no_colour: bool) -> str:
    """The theme to start with: the terminal's own colours where it has 16 or none."""
    if no_colour or colour_system in (None, "standard"):
        return "ansi-dark"
    return LIGHT.name if _light_background() else DARK.name


def _light_background() -> bool:
    """What COLORFGBG says, as some terminals set it; dark where it is not set."""
    return environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")
