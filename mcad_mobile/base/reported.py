"""A McadError on its way from one process to another."""

from __future__ import annotations

from msgspec import field

from mcad_mobile.base.documents import Record
from mcad_mobile.errors import McadError, Remedy


class ReportedError(Record, frozen=True, omit_defaults=True):
    """An error's message, and its hint or its remedy with the values that its words need."""

    message: str = field(name="what")
    hint: str = ""
    remedy: str = ""
    values: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(error: McadError) -> ReportedError:
        return ReportedError(
            error.message,
            error.hint,
            error.remedy.name if error.remedy else "",
            {name: str(value) for name, value in error.values.items()},
        )

    def error(self, kind: type[McadError]) -> McadError:
        """The error as a `kind`, to be raised here. Another version's remedy is its sentence."""
        known = Remedy.__members__.get(self.remedy)
        return kind(self.message, known(**self.values) if known else self.hint)
