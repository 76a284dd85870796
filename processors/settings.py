"""What the processors need to know: read once, at the start."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from infra.settings import StageSettings
from ingest import symbols


class ProcessorSettings(StageSettings):
    """Settings of a processor.

    Attributes:
        member_name: this worker's name in its group, if it keeps one over a restart; no two workers
            of a stage may share it. A worker that crashed and comes back under its name goes on at
            once; a nameless one waits ten seconds, until the group has given up its former self.
        symbols_file: the symbols that we follow, one a line; a tick of another is rejected.

    """

    member_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$", max_length=200)
    symbols_file: Path = Field(default=symbols.DEFAULT_FILE, validate_default=True)

    @field_validator("symbols_file")
    @classmethod
    def _readable(cls, path: Path, _: ValidationInfo) -> Path:
        try:
            symbols.parse(path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"{path}: {error.strerror}"
            raise ValueError(message) from None
        except ValueError as error:
            message = f"{path}: {error}"
            raise ValueError(message) from None
        return path

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that we follow."""
        return frozenset(symbols.parse(self.symbols_file.read_text(encoding="utf-8")))
