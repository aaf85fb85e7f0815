"""Where a week of daily means is heading."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

DIGITS = 6


def trend_of(days: pa.Table, key: str) -> pa.Table:
    """The least-squares change of the mean per day with data; null when there is one day."""
    totals = days["total"].to_numpy()
    means = totals / days["readings"].to_numpy()
    slope = rounded(np.polyfit(np.arange(len(means)), means, 1)[0]) if len(means) > 1 else None
    columns = {
        "day": [key],
        "days": [len(means)],
        "mean": [rounded(means.mean() if len(means) else 0)],
    }
    return pa.table({**columns, "change_per_day": pa.array([slope], pa.float64())})


def rounded(value: float) -> float:
    """To as many digits as are worth comparing."""
    return round(float(value), DIGITS)
