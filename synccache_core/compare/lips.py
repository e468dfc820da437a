"""How a mouth opens in a video, and how that goes with the sound; curves are numpy [F], one value a frame."""

import numpy as np

MOST_LAG = 4  # frames
FLAT = 1e-6  # deviation below which a curve does not move


def darkness(luma: np.ndarray) -> np.ndarray:
    """Opening [F] by luma [F, h, w] around a mouth: the share that is dark.

    Dark means well below the skin around the mouth, so that skin tone and lighting cancel out. 0 where all is black.
    """
    skin = np.median(np.quantile(luma.reshape(len(luma), -1), 0.7, axis=1))
    dark = np.clip((0.50 * skin - luma) / max(0.20 * skin, 1e-6), 0, 1)
    return dark.mean(axis=(1, 2))


def loudness(samples: np.ndarray, rate: float, frames: int, fps: float) -> np.ndarray:
    """Root mean square of a sound [samples] around each frame, the loudest frame = 1; 0 past the end of the sound."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(np.nan_to_num(samples), dtype=np.float64))])
    edges = np.round((np.arange(frames + 1) - 0.5) * rate / fps).astype(int).clip(0, len(energy) - 1)
    curve = np.sqrt(np.diff(energy[edges]).clip(0) / np.diff(edges).clip(1))
    return curve / (curve.max() or 1.0)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two curves [F]; 0 where one is flat or not a number."""
    if not min(np.std(a), np.std(b)) > FLAT:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def best_lag(seen: np.ndarray, true: np.ndarray, most: int = MOST_LAG) -> int:
    """By how many frames the seen mouth comes late, a quarter of them at most; correlated over the frames that both have."""
    def at(lag: int) -> float:
        late, early = seen[max(lag, 0) : len(seen) + min(lag, 0)], true[max(-lag, 0) : len(true) - max(lag, 0)]
        return correlation(late, early)

    most = min(most, len(seen) // 4)
    return max(range(-most, most + 1), key=at)
