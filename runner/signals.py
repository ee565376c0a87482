"""The signals that stop the program.

While a run trains, the first signal lets the step end, so that it can be saved; Ctrl-C after that, or any signal at
another time, ends the program at once. Nothing is harmed by that: every file is written under another name first.
"""

import contextlib
import os
import signal
import threading

# Ctrl-C; a plain kill; a terminal that closes; then what schedulers of clusters send before they end a job; Ctrl-Break.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


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
    """Have every later signal end the program: Ctrl-C even where it was ignored, as it is in a script's background."""
    for number in SIGNALS:
        if number == signal.SIGINT or not _is_ignored(number):
            signal.signal(number, stop_at_once)
    if hasattr(signal, "pthread_sigmask"):  # what forked this process may have blocked them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def end_silently_on_signals() -> None:
    """Have every later signal end the program without a word: it has said already how it ended."""
    for number in SIGNALS:
        if not _is_ignored(number):
            signal.signal(number, signal.SIG_DFL)


def _is_ignored(number: int) -> bool:
    """Tell whether whoever started the program had it ignore the signal, as nohup does with SIGHUP."""
    return signal.getsignal(number) is signal.SIG_IGN


class StopSignal:
    """While this is entered, a first signal only sets ``requested`` to its number; Ctrl-C after it ends the program.

    Other signals after the first change nothing: a terminal that closes, or a scheduler, may send several at once.
    """

    def __init__(self):
        self.requested = 0

    def __enter__(self) -> "StopSignal":
        # Elsewhere Python lets no handler be set, and delivers no signal.
        in_main_thread = threading.current_thread() is threading.main_thread()
        heard = [number for number in SIGNALS if in_main_thread and not _is_ignored(number)]
        self._before = {number: signal.signal(number, self._request) for number in heard}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: object) -> None:
        if not self.requested:
            self.requested = number
            _tell("\nex1.py: stopping after this step; Ctrl-C once more stops at once\n")
        elif number == signal.SIGINT:
            stop_at_once(number)


def _tell(text: str) -> None:
    # print() could not be used again if the signal came in the middle of one.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
