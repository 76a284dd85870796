"""One story, whoever wrote: what a frozen router writes too late does not count."""

from hypothesis import given
from hypothesis import strategies as st

from infra.fence import Story
from processors.events import RouterTransition


def transition(epoch: int, generation: int) -> RouterTransition:
    """Return a transition of a router."""
    return RouterTransition(
        epoch=epoch,
        from_state="PRIMARY_ACTIVE",
        to_state="FALLBACK_ACTIVE",
        reason="timeout",
        detail="",
        detected_at_ns=0,
        switched_at_ns=0,
        by="router",
        cause_offset=0,
        generation=generation,
    )


def counted(log: list[RouterTransition]) -> list[RouterTransition]:
    """Return what counts of a log."""
    story, found = Story(), []
    for record in log:
        if story.accepts(record):
            found.append(record)
        story = story.after(record)
    return found


def test_a_zombie_does_not_count() -> None:
    """Its successor has written already."""
    first, second, zombie = transition(1, 4), transition(2, 5), transition(3, 4)
    assert counted([first, second, zombie]) == [first, second]


def test_of_two_that_carry_the_epoch_on_the_first_counts() -> None:
    """The successor reads it in the log, behind its own, and goes on from there."""
    first, zombie, second = transition(1, 4), transition(2, 4), transition(2, 5)
    assert counted([first, zombie, second]) == [first, zombie]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), max_size=8), st.integers(0, 8))
def test_epochs_rise_and_generations_never_fall(log: list[tuple[int, int]], cut: int) -> None:
    """Whatever is written; and who begins in the middle, with the story so far, sees the same."""
    records = [transition(epoch, generation) for epoch, generation in log]
    found = counted(records)
    epochs = [record.epoch for record in found]
    assert epochs == sorted(set(epochs))
    generations = [record.generation for record in found]
    assert generations == sorted(generations)
    story = Story()
    for record in records[:cut]:
        story = story.after(record)
    whole = story
    for record in records[cut:]:
        whole = whole.after(record)
    assert whole.epoch == (epochs[-1] if epochs else 0)
