"""The transition with which a log of the router's begins where Alpaca is well."""

from processors.events import RouterTransition

#: Alpaca is routed from the beginning of time.
TO_ALPACA = RouterTransition(
    epoch=1,
    from_state="STARTUP",
    to_state="PRIMARY_ACTIVE",
    reason="startup",
    detail="",
    detected_at_ns=0,
    switched_at_ns=0,
    by="router",
    cause_offset=0,
    generation=1,
)
