"""What is generated for those who watch: the page of metrics."""

from pathlib import Path

from infra.catalogue import CATALOGUE, EXPOSED_BY, Metric

ROOT = Path(__file__).parent.parent.parent


def metrics() -> str:
    """Return the catalogue as a Markdown page."""
    lines = [
        "# Metrics",
        "",
        "Generated from `infra/catalogue.py` by `make generate`. Every process also tells of its",
        "own CPU, memory and files (`process_*`, `python_info`). Units are seconds and bytes.",
        "",
        "| metric | type | labels | exposed by | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{m.name}` | {m.kind} | {_labels(m)} | {EXPOSED_BY[m.about]} | {_cell(m.help)} |"
        for m in sorted(CATALOGUE, key=lambda m: m.name)
    ]
    histograms = sorted({m.buckets for m in CATALOGUE if m.buckets})
    lines += ["", "The histograms' buckets, in seconds:", ""]
    for buckets in histograms:
        names = ", ".join(f"`{m.name}`" for m in CATALOGUE if m.buckets == buckets)
        lines.append(f"* {' '.join(f'{bound:g}' for bound in buckets)}: {names}")
    return "\n".join(lines) + "\n"


def _labels(metric: Metric) -> str:
    labels = (f"{name}: {', '.join(words) or 'any'}" for name, words in metric.labels.items())
    return "; ".join(labels) or "-"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def documents() -> dict[Path, str]:
    """Return every generated file, by its path."""
    return {ROOT / "docs" / "metrics.md": metrics()}
