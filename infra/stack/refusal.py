"""How the local stack says no: one sentence for the user, and the exit code that goes with it."""

from infra.settings import EX_UNAVAILABLE


class Refusal(Exception):  # noqa: N818  # not an error of ours: a fact about the machine
    """Something that was asked for cannot be done here.

    Args:
        sentence: what is the matter and what to do about it, in one sentence.
        exit_code: the code of sysexits.h that the command leaves with.

    """

    def __init__(self, sentence: str, exit_code: int = EX_UNAVAILABLE) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
