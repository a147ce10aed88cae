"""Observables one by one: what can't be had of a run leaves its reason, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from lbpsi_driver.config import UsageError

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


def attempt(
    what: str, work: Callable[[], T], why: str | None = None
) -> tuple[T | None, str | None]:
    """Do one observable unless a reason against it is known.

    Parameters
    ----------
    what : str
        Run and observable, for the log.
    work : callable
        Does it.
    why : str, optional
        Why it can't be done, where that is known beforehand.

    Returns
    -------
    result : object or None
        What `work` returns; None where there is none.
    reason : str or None
        Why there is none.

    Raises
    ------
    OSError
        As `work` does: a full disk is no matter of one observable.
    """
    if why is not None:
        return None, why
    try:
        return work(), None
    except UsageError as err:
        return None, str(err)
    except OSError:
        raise
    except Exception as err:  # what breaks one observable must not lose all others
        _LOG.warning("%s: %s", what, err, exc_info=_LOG.isEnabledFor(logging.DEBUG))
        return None, f"{type(err).__name__}: {' '.join(str(err).split())}"
