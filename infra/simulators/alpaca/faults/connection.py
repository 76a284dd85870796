"""What can happen to a connection that hears ticks."""

from typing import Annotated, Literal

from msgspec import Meta

from infra.simulators.alpaca.faults.places import Closing, Deed, Frame
from infra.simulators.alpaca.session import error
from infra.simulators.faults import Fault, name_of


class Close(Fault, frozen=True, kw_only=True):
    """The connection is closed in good order."""

    once = True

    code: Annotated[
        Literal[1000, 1001, 1002, 1008, 1011, 1012, 1013], Meta(description="the close code")
    ] = 1001

    def deed(self, _: Frame | None) -> Deed | None:
        """Close."""
        return Deed(fault=name_of(type(self)), then="close", code=self.code)


class Cut(Fault, frozen=True, kw_only=True):
    """The TCP connection is reset."""

    once = True

    def deed(self, _: Frame | None) -> Deed | None:
        """Reset."""
        return Deed(fault=name_of(type(self)), then="abort")


class SlowClient(Fault, frozen=True, kw_only=True):
    """The client is called slow, 407, and the connection closed."""

    once = True

    said: Annotated[bool, Meta(description="whether 407 arrives before the close")] = True

    def deed(self, _: Frame | None) -> Deed | None:
        """Say so and close."""
        control = error(407) if self.said else None
        return Deed(fault=name_of(type(self)), control=control, then="close", code=1008)


class InternalError(Fault, frozen=True, kw_only=True):
    """An error 500 in the middle of the data."""

    once = True

    closing: Closing = True

    def deed(self, _: Frame | None) -> Deed | None:
        """Say so and close."""
        then: Literal["close", "go_on"] = "close" if self.closing else "go_on"
        return Deed(fault=name_of(type(self)), control=error(500), then=then, code=1011)


class TornFrame(Fault, frozen=True, kw_only=True):
    """A frame of ticks does not arrive whole, and its ticks are lost."""

    once = True

    how: Annotated[
        Literal["half", "array", "wire"],
        Meta(
            description=(
                "`half`: half of its text in a frame, then a close; `array`: its array lacks the "
                "end, and all goes on; `wire`: half of the frame's own bytes, then the end of TCP"
            )
        ),
    ] = "half"

    def deed(self, frame: Frame | None) -> Deed | None:
        """Tear the frame, as soon as there is one."""
        if frame is None:
            return None
        name = name_of(type(self))
        match self.how:
            case "half":
                return Deed(fault=name, garbage=frame.torn, spoils=True, then="close", code=1001)
            case "array":
                return Deed(fault=name, garbage=frame.unfinished, spoils=True, then="go_on")
            case "wire":
                return Deed(fault=name, garbage=frame.whole, spoils=True, wire=True, then="close")


class Unreadable(Fault, frozen=True, kw_only=True):
    """A frame that is no message at all comes between two frames of ticks."""

    once = True

    def deed(self, frame: Frame | None) -> Deed | None:
        """Send garbage."""
        if frame is None:
            return None
        garbage = b"<html>502 Bad Gateway</html>" if frame.text else b"\xc1\xc1\xc1\xc1"
        return Deed(fault=name_of(type(self)), garbage=garbage, then="go_on")
