"""The signals that stop the program, SIGINT (Ctrl-C) and SIGTERM.

While a run trains, the first signal lets the step end, so that it can be saved; a second one, or any at another time,
ends the program at once. Nothing is harmed by that: every file is written under another name first.
"""

import contextlib
import os
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Signal ``number`` stopped the run after a step; like KeyboardInterrupt it is no ``Exception``."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.exit_code = 128 + number


def stop_at_once(number: int, frame: object = None) -> None:
    """Handle a signal: end the program without another step, with exit code 128 + ``number``."""
    _tell("\nex1.py: stopped\n")
    os._exit(128 + number)


def stop_at_once_on_signals() -> None:
    """Have every later signal end the program, even one that was ignored, as it is in a script's background."""
    for number in SIGNALS:
        signal.signal(number, stop_at_once)


class StopSignal:
    """While this is entered, a first signal only sets ``requested`` to its number; a second one ends the program."""

    def __init__(self):
        self.requested = 0

    def __enter__(self) -> "StopSignal":
        # Elsewhere Python lets no handler be set, and delivers no signal.
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._request) for number in SIGNALS if in_main_thread}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: object) -> None:
        self.requested = number
        stop_at_once_on_signals()
        _tell("\nex1.py: stopping after this step; once more stops at once\n")


def _tell(text: str) -> None:
    # print() could not be used again if the signal came in the middle of one.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
