"""What the processors need to know: read once, at the start."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from infra.settings import StageSettings
from ingest import symbols


class ProcessorSettings(StageSettings):
    """Settings of a processor.

    Attributes:
        symbols_file: the symbols that we follow, one a line; a tick of another is rejected.

    """

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
