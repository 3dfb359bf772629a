"""`/metrics`: the counts of all processes and what is looked up now, in Prometheus' own format."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import choose_encoder

from .board import Key, Values
from .names import METRICS, Metric

Samples = Iterable[tuple[Metric, Key, float]]


class _Families:
    """What the encoders of prometheus_client read: a registry of families that are ready."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Family]:
        """Every family."""
        return iter(self._families)


def exposition(totals: Values, looked_up: Samples, accept: str) -> tuple[bytes, str]:
    """The page and its media type, as the scraper's Accept header wants it."""
    values = dict(totals)
    for metric, labels, value in looked_up:
        values[(metric.name, *labels)] = [value]
    encode, media_type = choose_encoder(accept)
    return encode(_Families(_families(values))), media_type


def _families(values: Values) -> Iterator[Family]:
    by_name: dict[str, list[tuple[Key, list[float]]]] = {}
    for key, numbers in sorted(values.items()):
        by_name.setdefault(key[0], []).append((key[1:], numbers))
    for name, metric in METRICS.items():
        if name in by_name:
            yield _family(metric, by_name[name])


def _family(metric: Metric, series: list[tuple[Key, list[float]]]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, numbers in series:
            histogram.add_metric(labels, list(_buckets(metric, numbers)), numbers[-1])
        return histogram
    scalar: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        scalar = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    else:
        scalar = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, numbers in series:
        scalar.add_metric(labels, numbers[0])
    return scalar


def _buckets(metric: Metric, numbers: list[float]) -> Iterator[tuple[str, float]]:
    seen = 0.0
    for bound, count in zip(metric.bounds, numbers, strict=False):
        seen += count
        if metric.told is None or bound in metric.told:
            yield repr(bound), seen
    yield "+Inf", seen + numbers[len(metric.bounds)]
