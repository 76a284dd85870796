"""A linter of PromQL: what an expression speaks of must exist.

`promtool check rules` passes a rule about a metric that nobody emits. Here every expression is
parsed, and for each of its parts it is worked out which labels a series of it has, and which values
each label can have: from the catalogue, through every function and operator, to the labels that an
annotation may name. What is not there is a finding.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import promql_parser as ast

from infra.catalogue import CATALOGUE, Metric
from infra.prometheus.config import JOBS

#: label -> the values it can have; None for whatever
Labels = Mapping[str, frozenset[str] | None]

TARGET: Labels = {
    "job": frozenset(JOBS),
    "instance": frozenset(name for names in JOBS.values() for name in names),
}
#: What Prometheus, Alertmanager and the client library say of themselves, as far as it is used.
FOREIGN: Mapping[str, Labels] = {
    "up": {},
    "process_resident_memory_bytes": {},
    "process_cpu_seconds_total": {},
    "process_open_fds": {},
    "prometheus_rule_evaluation_failures_total": {"rule_group": None},
    "prometheus_rule_group_iterations_missed_total": {"rule_group": None},
    "prometheus_config_last_reload_success_timestamp_seconds": {},
    "prometheus_notifications_dropped_total": {},
    "prometheus_notifications_alertmanagers_discovered": {},
    "alertmanager_notifications_failed_total": {"integration": None},
    "ALERTS": {"alertname": None, "alertstate": frozenset({"firing", "pending"}), "severity": None},
}


class UnknownPartError(Exception):
    """The parser knows something that the linter does not."""


def _of_metric(metric: Metric) -> dict[str, Labels]:
    labels: Labels = {
        **TARGET,
        **{name: frozenset(words) or None for name, words in metric.labels.items()},
    }
    if metric.kind != "histogram":
        return {metric.name: labels}
    # 2 is written as 2.0 by this client, and as 2 by others
    bounds = {"+Inf", *(f"{b:g}" for b in metric.buckets), *(str(float(b)) for b in metric.buckets)}
    return {
        f"{metric.name}_bucket": {**labels, "le": frozenset(bounds)},
        f"{metric.name}_count": labels,
        f"{metric.name}_sum": labels,
    }


def catalogue() -> dict[str, Labels]:
    """Return every series that exists before any rule: name -> labels."""
    known: dict[str, Labels] = {name: {**TARGET, **labels} for name, labels in FOREIGN.items()}
    for metric in CATALOGUE:
        known |= _of_metric(metric)
    return known


@dataclass(slots=True)
class Linter:
    """Works out labels; what is wrong is added to `findings`."""

    known: dict[str, Labels] = field(default_factory=catalogue)
    findings: list[str] = field(default_factory=list)

    def lint(self, expr: str) -> Labels:
        """Return the labels of an expression's series. Raises ValueError where it is no PromQL."""
        return self._labels(ast.parse(expr))

    def _find(self, sentence: str) -> None:
        if sentence not in self.findings:
            self.findings.append(sentence)

    def _labels(self, node: Any) -> Labels:
        match node:
            case ast.VectorSelector() | ast.MatrixSelector():
                return self._selector(getattr(node, "vector_selector", node))
            case ast.SubqueryExpr() | ast.ParenExpr() | ast.UnaryExpr():
                return self._labels(node.expr)
            case ast.AggregateExpr():
                return self._aggregate(node)
            case ast.BinaryExpr():
                return self._binary(node)
            case ast.Call():
                return self._call(node)
            case ast.NumberLiteral() | ast.StringLiteral():
                return {}
        raise UnknownPartError(repr(node))

    def _selector(self, node: Any) -> Labels:
        labels = self.known.get(node.name)
        if labels is None:
            self._find(f"unknown metric {node.name}")
            return {}
        narrowed = dict(labels)
        for matcher in node.matchers.matchers:
            if matcher.name not in labels:
                self._find(f"{node.name} has no label {matcher.name}")
                continue
            values = labels[matcher.name]
            if values is not None:
                fits = self._fits(node.name, matcher, values)
                narrowed[matcher.name] = frozenset(v for v in values if fits(v))
        return narrowed

    def _fits(self, name: str, matcher: Any, values: frozenset[str]) -> Callable[[str], bool]:
        """Return which values a matcher lets through; each of its alternatives must be one."""
        negative = matcher.op in (ast.MatchOp.NotEqual, ast.MatchOp.NotRe)
        if matcher.op in (ast.MatchOp.Equal, ast.MatchOp.NotEqual):
            alternatives = [re.escape(matcher.value)]
        else:
            alternatives = _alternatives(matcher.value)
        for each in alternatives:
            if not any(re.fullmatch(each, value) for value in values):
                shown = matcher.value if len(alternatives) == 1 else each
                self._find(f"{name}: {matcher.name} is never {shown!r}")
        whole = re.compile("|".join(f"(?:{each})" for each in alternatives))
        return lambda value: bool(whole.fullmatch(value)) != negative

    def _must_have(self, labels: Labels, wanted: Iterable[str], where: str) -> None:
        for name in wanted:
            if name not in labels:
                self._find(f"{where} ({name}): there is no such label")

    def _aggregate(self, node: Any) -> Labels:
        if node.param is not None:
            self._labels(node.param)
        labels = self._labels(node.expr)
        if node.modifier is None:
            return {}
        named = node.modifier.labels
        if node.modifier.type == ast.AggModifierType.By:
            self._must_have(labels, named, "by")
            return {name: labels[name] for name in named if name in labels}
        return {name: values for name, values in labels.items() if name not in named}

    def _binary(self, node: Any) -> Labels:
        left, right = self._labels(node.lhs), self._labels(node.rhs)
        word = str(node.op)
        if word == "or":
            return _either(left, right)
        if _is_scalar(node.lhs) or _is_scalar(node.rhs):
            return right if _is_scalar(node.lhs) else left
        modifier = node.modifier
        matching = modifier.matching if modifier else None
        if matching is not None and matching.type == ast.LabelModifierType.Include:
            self._must_have(left, matching.labels, "on")
            self._must_have(right, matching.labels, "on")
        elif matching is None and left.keys() != right.keys() and left and right:
            self._find(f"{word}: one side has {sorted(left)}, the other {sorted(right)}")
        return left

    def _call(self, node: Any) -> Labels:
        name = node.func.name
        arguments = [(each, self._labels(each)) for each in node.args]
        if name in {"vector", "time", "scalar"}:
            return {}
        if name == "label_replace":
            return self._replace(node.args, arguments[0][1])
        if name in {"absent", "absent_over_time"}:
            return {
                matcher.name: frozenset({matcher.value})
                for matcher in _matchers(node.args[0])
                if matcher.op == ast.MatchOp.Equal
            }
        labels = next((found for each, found in arguments if not _is_scalar(each)), {})
        if name == "histogram_quantile":
            self._must_have(labels, ["le"], name)
            return {label: values for label, values in labels.items() if label != "le"}
        return labels

    def _replace(self, arguments: list[Any], labels: Labels) -> Labels:
        _, to, replacement, source, pattern = arguments
        if source.val and source.val not in labels:
            self._find(f"label_replace: there is no label {source.val}")
        copied = replacement.val == "$1" and pattern.val == "(.+)"
        values = labels.get(source.val) if copied else frozenset({replacement.val})
        return {**labels, to.val: values}


def _either(left: Labels, right: Labels) -> Labels:
    both: dict[str, frozenset[str] | None] = {}
    for name in {*left, *right}:
        one, other = left.get(name, frozenset()), right.get(name, frozenset())
        both[name] = None if one is None or other is None else one | other
    return both


def _matchers(node: Any) -> list[Any]:
    found: list[Any] = []

    def visit(part: Any) -> None:
        if isinstance(part, ast.VectorSelector):
            found.extend(part.matchers.matchers)

    ast.walk(node, visit)
    return found


def _is_scalar(node: Any) -> bool:
    match node:
        case ast.NumberLiteral() | ast.StringLiteral():
            return True
        case ast.ParenExpr() | ast.UnaryExpr():
            return _is_scalar(node.expr)
        case ast.BinaryExpr():
            return _is_scalar(node.lhs) and _is_scalar(node.rhs)
        case ast.Call():
            return node.func.name in {"time", "scalar"}
    return False


def _alternatives(pattern: str) -> list[str]:
    """Split a pattern at the bars that stand outside of brackets."""
    parts, depth = [""], 0
    for character in pattern:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


_LABEL = re.compile(r"\$labels\.(\w+)")
_QUERY = re.compile(r'\bquery "((?:[^"\\]|\\.)*)"')


def lint_rules(files: Mapping[str, Any]) -> list[str]:
    """Return what is wrong in files of rules: name -> content, as Prometheus reads them."""
    linter = Linter()
    rules = [
        (f"{name}: {rule.get('alert') or rule.get('record')}", rule)
        for name, content in files.items()
        for group in content["groups"]
        for rule in group["rules"]
    ]
    findings: list[str] = []
    # a rule may speak of what another records, in whichever order: until nothing new is learnt
    waiting = [(where, rule) for where, rule in rules if "record" in rule]
    while waiting:
        rest = []
        for where, rule in waiting:
            attempt = Linter(linter.known)
            labels = attempt.lint(rule["expr"])
            if any(finding.startswith("unknown metric") for finding in attempt.findings):
                rest.append((where, rule))
                continue
            own: Labels = {k: frozenset({v}) for k, v in rule.get("labels", {}).items()}
            before = linter.known.get(rule["record"], {})
            linter.known[rule["record"]] = _either(before, {**labels, **own})
        if len(rest) == len(waiting):
            break
        waiting = rest
    for where, rule in rules:
        attempt = Linter(linter.known)
        labels = attempt.lint(rule["expr"])
        there = {*labels, *rule.get("labels", {})}
        for text in rule.get("annotations", {}).values():
            for label in _LABEL.findall(text):
                if label not in there:
                    attempt.findings.append(f"an annotation names {label}, which it has not")
            for query in _QUERY.findall(text):
                attempt.lint(query.replace('\\"', '"'))
        findings += [f"{where}: {finding}" for finding in attempt.findings]
    return findings


def speaks_of(expr: str) -> set[str]:
    """Return the names of the series that an expression reads."""
    names: set[str] = set()

    def visit(part: Any) -> None:
        match part:
            case ast.VectorSelector():
                names.add(str(part.name))
            case ast.MatrixSelector():
                names.add(str(part.vector_selector.name))

    ast.walk(ast.parse(expr), visit)
    return names
