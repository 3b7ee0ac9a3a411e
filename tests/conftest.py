"""What all tests share: the laboratory's fixtures and the rule about layers that cannot run."""

import os
import signal

pytest_plugins = ["tests.lab.layers"]


def pytest_configure() -> None:
    """Take signals as a program in the foreground does: whoever starts it in the background may have them ignored.

    The tests' natop finds no configuration of whoever runs them.
    """
    os.environ["XDG_CONFIG_HOME"] = os.devnull
    for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
