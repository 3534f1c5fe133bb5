"""
Which values of an activation its u8 codes cover, and which channels of it are treated apart.

In a transformer, a few channels reach far beyond all others, at the first token and the last above all: one range for all of
them makes the steps of the others coarse. In `sentiment-multilingual`, one channel of the second feed-forward input reaches 54,
with weights of 5, where the next reach 7 and 0.3. Treated apart, such channels cost little:

- of a product that is narrower than its input, the part of an outlying channel is computed in float32, and added by the Sum
  that follows (`outlying_channels`);
- of a product that is wider, a wide channel goes on in further channels, copies of it that are shifted by whole ranges. A code
  saturates at the ends of the range, so the copies add up to the channel, and the bias takes away what they add to a value
  within the range (`wide_channels`, `Range.further`).

Neither depends on the other rows of a batch.
"""

from dataclasses import dataclass

import numpy as np

# Highest u8 code.
CODES = 255

# A channel is outlying if its part in a product is this many times as large as that of any channel but MOST others.
OUTLYING = 8
# A channel is wide if it reaches this many times as far as any channel but MOST others.
WIDE = 1.5
MOST = 4


@dataclass(frozen=True)
class Range:
    """Values of an activation tensor that its u8 codes cover."""

    low: float
    high: float
    # Channels that stay in float32, whatever they reach.
    outlying: tuple[int, ...] = ()
    # Channels that go on beyond the range, each with its own lowest and highest value.
    wide: tuple[tuple[int, float, float], ...] = ()

    @property
    def scale(self) -> float:
        return max((self.high - self.low) / CODES, 1e-8)

    @property
    def zero(self) -> int:
        """The code of 0."""
        return int(np.clip(np.rint(-self.low / self.scale), 0, CODES))

    def further(self) -> list[tuple[int, int]]:
        """Copies of the wide channels: of each the channel, and by how many ranges it is shifted down (or up, if negative)."""
        low, high, width = -self.zero * self.scale, (CODES - self.zero) * self.scale, CODES * self.scale
        return [
            (channel, sign * shift)
            for channel, lowest, highest in self.wide
            for sign, beyond in ((1, highest - high), (-1, low - lowest))
            for shift in range(1, int(np.ceil(beyond / width)) + 1)
        ]


def range_of(lows: np.ndarray, highs: np.ndarray, coverage: float, matrix: np.ndarray | None = None) -> Range:
    """
    The range of a tensor, from the extremes of its channels in every text, [texts, channels]: that between the `1 - coverage`
    and `coverage` quantiles over the texts' own extremes, so a single freak value does not make the steps coarser for everybody.

    Given the matrix that it is multiplied by, [channels, out], a few channels are treated apart and do not count.
    """
    outlying: tuple[int, ...] = ()
    wide: tuple[int, ...] = ()
    if matrix is not None:
        peaks = np.maximum(-lows, highs)
        channels, out = matrix.shape
        if out < channels:
            outlying = outlying_channels(peaks, matrix)
        elif out > channels:
            wide = wide_channels(peaks)
    lowest, highest = np.quantile(lows, 1 - coverage, axis=0), np.quantile(highs, coverage, axis=0)
    lows, highs = (np.delete(values, (*outlying, *wide), axis=1) for values in (lows, highs))
    return Range(
        min(0.0, float(np.quantile(lows.min(axis=1), 1 - coverage))),
        max(0.0, float(np.quantile(highs.max(axis=1), coverage))),
        outlying,
        tuple((channel, float(lowest[channel]), float(highest[channel])) for channel in wide),
    )


def outlying_channels(peaks: np.ndarray, matrix: np.ndarray) -> tuple[int, ...]:
    """Channels whose part in a product, their usual peak times their largest weight, is far beyond that of the others."""
    return _beyond(np.median(peaks, axis=0) * np.abs(matrix).max(axis=1), OUTLYING)


def wide_channels(peaks: np.ndarray) -> tuple[int, ...]:
    """Channels that reach further than the others."""
    return _beyond(peaks.max(axis=0), WIDE)


def _beyond(values: np.ndarray, factor: float) -> tuple[int, ...]:
    """Where the values are that exceed the one after the MOST largest by a factor."""
    if len(values) <= MOST:
        return ()
    *largest, usual = np.argsort(-values, kind="stable")[: MOST + 1]
    return tuple(sorted(int(i) for i in largest if values[i] > factor * values[usual]))
