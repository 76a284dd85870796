"""Dashboards in Grafana's words, by its foundation SDK.

The JSON is the classic model (schema 42), which files are provisioned with on Grafana 12 and later.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import (
    barchart,
    common,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import dashboard as grafana

from infra.grafana import business, operations, performance, reliability
from infra.grafana.board import WAY, Board, Panel, Prom, Sql
from infra.grafana.roles import FOLDERS
from infra.prometheus.runbooks import runbook

BOARDS = (operations.BOARD, performance.BOARD, reliability.BOARD, business.BOARD)
#: Where `docs/` is served, until somebody says otherwise on the dashboard.
DOCS = "https://ops.example/docs/"
_COLUMNS = 24
#: Everything of a kind that Grafana can be sent to, by the name on the button.
_EXPLORED = {"Logs": "loki", "Traces": "jaeger"}


def source(kind: str) -> common.DataSourceRef:
    """Return a data source, as `provisioning/datasources` declares it."""
    plugin = {"clickhouse": "grafana-clickhouse-datasource"}.get(kind, kind)
    return common.DataSourceRef(plugin, f"twinfeed-{kind}")


class ClickHouseQuery(Dataquery):
    """A query of the ClickHouse plugin, which the SDK does not know."""

    def __init__(self, sql: str, ref_id: str) -> None:
        self.sql = sql
        self.ref_id = ref_id

    def to_json(self) -> dict[str, object]:
        """Return what the plugin reads; format 1 is a table."""
        return {
            "refId": self.ref_id,
            "datasource": source("clickhouse"),
            "editorType": "sql",
            "rawSql": self.sql,
            "queryType": "table",
            "format": 1,
        }


def _query(ask: Prom | Sql, ref_id: str, panel: Panel) -> Dataquery:
    if isinstance(ask, Sql):
        return ClickHouseQuery(ask.sql, ref_id)
    form = prometheus.PromQueryFormat.TIME_SERIES
    if ask.heatmap:
        form = prometheus.PromQueryFormat.HEATMAP
    elif panel.kind == "table":
        form = prometheus.PromQueryFormat.TABLE
    return prometheus.Dataquery(
        expr=ask.expr,
        legend_format=ask.legend or "__auto",
        instant=ask.instant,
        range_val=not ask.instant,
        format_val=form,
        editor_mode=prometheus.QueryEditorMode.CODE,
        datasource=source("prometheus"),
        ref_id=ref_id,
    )


def _link(title: str, url: str) -> grafana.DashboardLink:
    return grafana.DashboardLink(
        title=title, type_val=grafana.DashboardLinkType.LINK, url=url, target_blank=True
    )


def _alert_link(alert: str) -> grafana.DashboardLink:
    return _link(f"{alert}: what to do", f"${{docs:raw}}{runbook(alert).removeprefix('docs/')}")


def _data_links(panel: Panel) -> list[grafana.DashboardLink]:
    """Return the ways from a panel's data to the logs and traces behind them, of the same time."""
    if not panel.services:
        return []
    asked: dict[str, dict[str, str]] = {
        "Logs": {"expr": f'{{service_name=~"{"|".join(panel.services)}"}} | json'},
        "Traces": {"queryType": "search", "service": panel.services[0]},
    }
    return [_link(title, _explore(_EXPLORED[title], query)) for title, query in asked.items()]


def _options(panel: Panel) -> object:
    legend = common.VizLegendOptions(
        show_legend=True,
        display_mode=common.LegendDisplayMode.LIST,
        placement=common.LegendPlacement.BOTTOM,
        calcs=[],
    )
    tooltip = common.VizTooltipOptions(
        mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING
    )
    match panel.kind:
        case "stat":
            return stat.Options(
                graph_mode=common.BigValueGraphMode.AREA,
                color_mode=common.BigValueColorMode.VALUE,
                text_mode=common.BigValueTextMode.AUTO,
                # all fields that are numbers, also those of a table
                reduce_options=common.ReduceDataOptions(
                    values=False, calcs=["lastNotNull"], fields=""
                ),
            )
        case "timeseries":
            return timeseries.Options(legend=legend, tooltip=tooltip)
        case "barchart":
            return barchart.Options(x_field=panel.x, legend=legend, tooltip=tooltip)
        case "heatmap":
            return heatmap.Options(
                calculate=False,
                color=heatmap.HeatmapColorOptions(scheme="Oranges", steps=64),
                y_axis=heatmap.YAxisConfig(unit=panel.unit),
            )
        case "table":
            return table.Options(show_header=True)


def _custom(panel: Panel) -> object:
    if panel.kind != "timeseries":
        return None
    told = len(panel.steps) > 1
    return timeseries.FieldConfig(
        fill_opacity=30 if panel.stacked else 10,
        show_points=common.VisibilityMode.AUTO,
        stacking=common.StackingConfig(
            mode=common.StackingMode.NORMAL if panel.stacked else common.StackingMode.NONE
        ),
        thresholds_style=common.GraphThresholdsStyleConfig(
            mode=common.GraphThresholdsStyleMode.LINE
            if told
            else common.GraphThresholdsStyleMode.OFF
        ),
    )


def _field(panel: Panel) -> grafana.FieldConfig:
    words: list[grafana.ValueMapping] = []
    if panel.words:
        words.append(
            grafana.ValueMap(
                options={
                    str(value): grafana.ValueMappingResult(text=text, color=color, index=index)
                    for index, (value, (text, color)) in enumerate(panel.words.items())
                }
            )
        )
    by_threshold = panel.kind == "stat"
    return grafana.FieldConfig(
        unit=panel.unit,
        mappings=words,
        thresholds=grafana.ThresholdsConfig(
            mode=grafana.ThresholdsMode.ABSOLUTE,
            steps=[grafana.Threshold(value=value, color=color) for value, color in panel.steps],
        ),
        color=grafana.FieldColor(
            mode=grafana.FieldColorModeId.THRESHOLDS
            if by_threshold
            else grafana.FieldColorModeId.PALETTE_CLASSIC
        ),
        custom=_custom(panel),
        links=_data_links(panel) or None,
    )


def _override(column: str, unit: str) -> grafana.DashboardFieldConfigSourceOverrides:
    return grafana.DashboardFieldConfigSourceOverrides(
        matcher=grafana.MatcherConfig(id_val="byName", options=column),
        properties=[grafana.DynamicConfigValue(id_val="unit", value=unit)],
    )


def _panel(panel: Panel, number: int, place: grafana.GridPos) -> grafana.Panel:
    first = panel.asks[0]
    return grafana.Panel(
        type_val=panel.kind,
        id_val=number,
        title=panel.title,
        description=panel.description,
        datasource=source("clickhouse" if isinstance(first, Sql) else "prometheus"),
        targets=[_query(ask, chr(ord("A") + n), panel) for n, ask in enumerate(panel.asks)],
        grid_pos=place,
        links=[_alert_link(alert) for alert in panel.alerts],
        options=_options(panel),
        field_config=grafana.FieldConfigSource(
            defaults=_field(panel),
            overrides=[_override(column, unit) for column, unit in panel.units.items()],
        ),
    )


def _places(panels: tuple[Panel, ...]) -> Iterator[grafana.GridPos]:
    """Yield where each panel is: in rows, each as high as its highest."""
    x = y = height = 0
    for panel in panels:
        if x + panel.width > _COLUMNS:
            x, y, height = 0, y + height, 0
        yield grafana.GridPos(x=x, y=y, w=panel.width, h=panel.height)
        x, height = x + panel.width, max(height, panel.height)


def _annotations() -> list[grafana.AnnotationQuery]:
    return [
        grafana.AnnotationQuery(
            name="Failovers",
            datasource=source("prometheus"),
            icon_color="orange",
            # the value is the moment, in milliseconds
            expr="1000 * datasource_router_last_failover_timestamp",
            use_value_for_time=True,
            title_format="Failover: Yahoo's prices go out",
        ),
        grafana.AnnotationQuery(
            name="Alerts",
            datasource=source("prometheus"),
            icon_color="red",
            expr='ALERTS{alertstate="firing", severity=~"critical|high"}',
            title_format="{{alertname}}",
            text_format="{{severity}}",
            tag_keys="severity",
        ),
    ]


def _explore(kind: str, query: dict[str, str]) -> str:
    """Return where Grafana asks a data source for the dashboard's own time."""
    reference = {"type": kind, "uid": f"twinfeed-{kind}"}
    pane = {
        "datasource": reference["uid"],
        "queries": [{"refId": "A", "datasource": reference, **query}],
        "range": {"from": "FROM", "to": "TO"},
    }
    path = "/explore?schemaVersion=1&orgId=1&panes=" + quote(json.dumps({"a": pane}))
    # Grafana puts the time in where it finds these words as they are
    return path.replace("FROM", "${__from}").replace("TO", "${__to}")


def _links() -> list[grafana.DashboardLink]:
    return [
        grafana.DashboardLink(
            title="Dashboards",
            type_val=grafana.DashboardLinkType.DASHBOARDS,
            tags=["twinfeed"],
            keep_time=True,
        ),
        _link("Alerts and what they mean", "${docs:raw}alerts.md"),
        _link("Logs", _explore("loki", {"expr": '{service_name=~".+"} | json'})),
        _link("Traces", _explore("jaeger", {"queryType": "search", "service": WAY[0]})),
    ]


def dashboard(board: Board) -> grafana.Dashboard:
    """Return a dashboard as the SDK has it."""
    places = _places(board.panels)
    return grafana.Dashboard(
        uid=board.uid,
        title=board.title,
        description=board.description,
        tags=["twinfeed"],
        timezone="browser",
        editable=False,
        graph_tooltip=grafana.DashboardCursorSync.CROSSHAIR,
        time=grafana.DashboardDashboardTime(from_val=board.since, to="now"),
        refresh=board.refresh,
        panels=[
            _panel(panel, number, place)
            for number, (panel, place) in enumerate(zip(board.panels, places, strict=True), 1)
        ],
        templating=grafana.DashboardDashboardTemplating(
            list_val=[
                grafana.VariableModel(
                    type_val=grafana.VariableType.TEXTBOX,
                    name="docs",
                    label="Documents at",
                    description="Where the directory docs/ is served; ends with a slash.",
                    query=DOCS,
                )
            ]
        ),
        annotations=grafana.AnnotationContainer(list_val=_annotations()),
        links=_links(),
    )


def files() -> dict[str, str]:
    """Return every dashboard's JSON, by its file's name in the directory of its folder."""
    folders = {name: folder.uid for folder in FOLDERS for name in folder.boards}
    return {
        f"{folders[board.name]}/{board.name}.json": json.dumps(
            dashboard(board), cls=JSONEncoder, indent=2
        )
        + "\n"
        for board in BOARDS
    }


def model(board: Board) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    read: dict[str, Any] = json.loads(json.dumps(dashboard(board), cls=JSONEncoder))
    return read
