"""A histogram that takes many values at once."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import prometheus_client


class Histogram(prometheus_client.Histogram):
    """Prometheus's, which looks for each value's bucket and takes two locks for each value alone.

    A value costs it some 2 us, and a fifteenth of that among a thousand.
    """

    def observe_all(self, values: Sequence[float]) -> None:
        """Observe each of `values`; they can have no example."""
        self._raise_if_not_observable()  # type: ignore[no-untyped-call]
        found = Counter([bisect_left(self._upper_bounds, value) for value in values])
        for bucket, count in found.items():
            self._buckets[bucket].inc(count)
        self._sum.inc(sum(values))
