"""What a trading status means: is the symbol halted now? Pure.

The codes are those of "Trading status" in Alpaca's "Real-time Stock Data". The two tapes' operators
have codes of their own, and none means two things, so the tape need not be looked at. Every other
code (imbalances, indications, short sale restrictions) changes nothing about trading.
"""

#: The symbol is not traded from here on. CTA: 2; UTP: H, and P for a volatility pause.
HALTS = frozenset({"2", "H", "P"})

#: It is traded again. Q of UTP is not among them: quotes come back first, trades minutes later.
RESUMES = frozenset({"3", "T"})


def halted(status_code: str) -> bool | None:
    """Return whether a symbol is halted from this status on; None where it says nothing of that."""
    if status_code in HALTS:
        return True
    if status_code in RESUMES:
        return False
    return None
