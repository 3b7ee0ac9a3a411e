"""What all tests share: the laboratory's fixtures and the rule about layers that cannot run."""

import signal

pytest_plugins = ["tests.lab.layers"]


def pytest_configure() -> None:
    """Take signals as a program in the foreground does: whoever starts it in the background may have them ignored."""
    for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
