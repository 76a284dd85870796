"""Each alert fires, does not fire on the near miss, and is over; in Prometheus's own engine."""

from collections import defaultdict
from pathlib import Path

import pytest

from infra.prometheus.alerts import ALERTS
from infra.stack.toolchain import Monitoring
from tests.infra.prometheus.alert_cases import CASES
from tests.infra.prometheus.promtool import Case, play


@pytest.mark.service
def test_every_case_ends_as_it_must(monitoring: Monitoring, tmp_path: Path) -> None:
    """All timelines, minute by minute."""
    assert play(monitoring.promtool, tmp_path, CASES) == ""


def test_a_rule_that_has_no_test_does_not_exist() -> None:
    """Every alert is seen to fire and not to, and to be over, but for the one that always fires."""
    fires: dict[str, list[Case]] = defaultdict(list)
    spared: dict[str, list[Case]] = defaultdict(list)
    over: set[str] = set()
    for case in CASES:
        name = case.name_of_alert
        (fires if case.fires else spared)[name].append(case)
        if case.fires and case.silent and max(case.silent) > max(case.fires):
            over.add(name)
    names = {alert.name for alert in ALERTS}
    assert fires.keys() == names
    assert names - spared.keys() == {"Watchdog"}
    assert names - over == {"Watchdog"}


@pytest.mark.service
def test_a_case_that_is_wrong_is_found(monitoring: Monitoring, tmp_path: Path) -> None:
    """The harness itself can fail."""
    wrong = Case(
        name="never silent", series={"up": "1x40"}, alert='alertname="Watchdog"', silent=(5,)
    )
    assert "never silent" in play(monitoring.promtool, tmp_path, [wrong])
