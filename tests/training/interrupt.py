"""Children that Ctrl-C reaches, also where the tests run in the background of a shell."""

import signal


def heed() -> None:
    """Undo what a shell does to its background jobs; for ``preexec_fn``."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
