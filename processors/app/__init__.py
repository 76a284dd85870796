"""The Faust apps: one a stage, each with one thin agent around a pure function.

`python -m processors validate|route|forward` runs one.
"""

from collections.abc import Callable

from infra.traces.settings import TraceSettings
from processors.app.forward import Forward
from processors.app.route import Route
from processors.app.stage import Stage
from processors.app.validate import Validate
from processors.settings import ProcessorSettings

STAGES: dict[str, Callable[[ProcessorSettings, TraceSettings | None], Stage]] = {
    "validate": Validate,
    "route": Route,
    "forward": Forward,
}
