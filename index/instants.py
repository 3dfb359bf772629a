"""Points in time as whole numbers: ISO 8601 dates and date-times as microseconds of UTC."""

import re
from datetime import UTC, datetime, timedelta

WANTED = "an ISO 8601 date or date-time with offset, such as 2024-05-31 or 2024-05-31T18:30:00Z"

_FORM = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<minutes>[0-9]{2}:[0-9]{2})(?P<seconds>:[0-9]{2})?(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def instant(text: str) -> int | None:
    """Microseconds since 1970 in UTC, None for a text that is no such point in time.

    A date means its first moment in UTC. A date-time without offset could be any of 26 hours, so it
    is none; what lies below a microsecond is cut off.

    >>> instant("1970-01-02"), instant("1970-01-01T01:00:00.5+01:00"), instant("1970-01-01T00:00")
    (86400000000, 500000, None)
    """
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    date, minutes, seconds, fraction, offset = found.groups()
    if fraction is not None and seconds is None:
        return None
    clock = f"T{minutes}{seconds or ':00'}.{(fraction or '')[:6]:0<6}" if minutes else "T00:00:00"
    zone = "+00:00" if offset in (None, "Z", "z") else offset
    try:
        at = datetime.fromisoformat(f"{date}{clock}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February, or outside the years 1 to 9999
        return None
    return (at - _EPOCH) // _MICROSECOND


def iso_of(microseconds: int) -> str:
    """The inverse, in UTC.

    >>> iso_of(500_000)
    '1970-01-01T00:00:00.500000+00:00'
    """
    return (_EPOCH + microseconds * _MICROSECOND).isoformat()
