"""One small tree of errors. Each says what is wrong, where, and how to fix it.

Whatever a person can cause by what they give us ends in a `ProblemError`, which the command line prints and the
pages show; any other exception is a fault of ours.
"""

from __future__ import annotations

from collections.abc import Callable


class ProblemError(Exception):
    """Something the user can mend.

    Parameters
    ----------
    what : what is wrong, in one clause, with the offending value.
    where : the field, file or row it was found in.
    fix : what to do about it, in the imperative.
    """

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        end = "" if what.endswith("\n") else ". "  # a list ends its last line itself
        super().__init__(f"{where}: {what}{end}{fix}")
        self.what, self.where, self.fix = what, where, fix

    def __reduce__(self) -> tuple[Callable[..., ProblemError], tuple[object, ...]]:
        # Exceptions are made again from their one text otherwise, which none of ours can be: they cross from worker processes.
        return _made_again, (type(self), self.args, vars(self))


def _made_again(kind: type[ProblemError], args: tuple[object, ...], told: dict[str, object]) -> ProblemError:
    """An error of any kind, whatever its own parameters are."""
    error = kind.__new__(kind)
    error.args = args
    vars(error).update(told)
    return error


class FieldError(ProblemError):
    """A value that its field does not allow."""


class ImageError(ProblemError):
    """A file that cannot be read as an ultrasound image."""


class CaseError(ProblemError):
    """A case, manifest or cohort folder that does not hold together."""


class CheckpointError(ProblemError):
    """A checkpoint that is missing, damaged or made for another schema."""


class StorageError(ProblemError):
    """A disk that cannot take what must be written."""


class StatisticsError(ProblemError):
    """Numbers from which the asked statistic cannot be computed."""
