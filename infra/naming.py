"""How a type's name becomes the word that an event is tagged with."""


def snake(name: str) -> str:
    """Return a class's name as a tag: `GapOpened` is `gap_opened`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
