"""What can go wrong with a label, one class a reason, so that a campaign can count reasons.

Every message is one sentence that a person can act on. All classes survive pickling, because they
travel from worker processes to the campaign.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, `ulimit -f`


class MethodError(ValueError):
    """The electronic-structure method does not exist or PySCF cannot run it."""


class InvalidFrameError(ValueError):
    """The frame cannot be computed as it stands: shapes, NaN, electron count, contacts."""


class SCFNotConvergedError(RuntimeError):
    """No SCF fallback stage reached self-consistency; there is no label."""


class LabelCheckError(RuntimeError):
    """A computed label contradicts itself and is thrown away."""


class DeviceError(ValueError):
    """Labels were to be computed on a device that is not there, or has no program."""


class DeviceDisagreementError(RuntimeError):
    """A label of the GPU is not that of the CPU; the campaign stops."""


class WorkerDiedError(RuntimeError):
    """The process that computed the frame ended without an answer (killed, out of memory)."""


class FrameTimeoutError(RuntimeError):
    """The frame took longer than it was allowed to; its process was ended."""


class MemoryLimitError(RuntimeError):
    """The frame took more memory than it was allowed to; its process was ended."""


class CampaignError(ValueError):
    """The campaign folder cannot be used as asked."""


class DamagedResultsError(CampaignError):
    """Result files are missing or altered; running the campaign computes them again."""


class DiskFullError(RuntimeError):
    """There is no room to store a result; the campaign goes on once there is."""


class ExchangeError(ValueError):
    """A file of another program, or a dataset for one, is not what it should be."""


class DifferentMethodsError(ValueError):
    """Labels of different methods cannot be in one dataset."""


class ContradictingLabelsError(ValueError):
    """Two labels of one frame differ by more than either can be wrong."""


class MissingBaselineError(ValueError):
    """A dataset of a cheaper method lacks frames that it should have labelled."""


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error says that there is no room."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


@contextmanager
def full_disk_is_a_sentence(path: Path) -> Iterator[None]:
    """Turn such errors, also as the cause of others, into a `DiskFullError` about ``path``."""
    try:
        yield
    except OSError as error:
        if not is_full_disk(error) and not is_full_disk(error.__cause__):
            raise
        raise DiskFullError(
            f"the disk that holds {path} is full; nothing is lost, run the same command again "
            "once there is room"
        ) from error
