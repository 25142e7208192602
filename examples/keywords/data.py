"""Keywords spoken by a simple synthesizer in noise, as log-mel spectrograms.

A word is a row of sounds: a buzz, a hiss or both, shaped by three formants (resonances of the vocal tract). Speakers
differ in pitch, in the length of their vocal tract and in speed, and no sound comes out twice alike.
"""

from __future__ import annotations

import numpy as np

RATE_HZ = 8000
SAMPLES = 8000
"""Samples of a sound: one second."""
WINDOW, HOP, MELS = 256, 128, 32
"""Samples of a window of the spectrogram and from one to the next, and its bands."""
FRAMES = 1 + (SAMPLES - WINDOW) // HOP
COUNTS = {"train": 600, "validation": 200, "test": 200}

SOUNDS = {  # formants in Hz, loudness of buzz and of hiss, duration in s
    "i": (270, 2290, 3010, 1.0, 0.0, 0.10),
    "y": (280, 2200, 2900, 0.7, 0.0, 0.06),
    "e": (530, 1840, 2480, 1.0, 0.0, 0.13),
    "a": (730, 1090, 2440, 1.0, 0.0, 0.14),
    "o": (570, 840, 2410, 1.0, 0.0, 0.13),
    "u": (300, 870, 2240, 0.8, 0.0, 0.10),
    "n": (250, 1200, 2200, 0.4, 0.0, 0.08),
    "l": (360, 1100, 2600, 0.5, 0.0, 0.07),
    "r": (400, 1150, 1600, 0.6, 0.0, 0.07),
    "s": (2600, 3300, 3800, 0.0, 0.5, 0.12),
    "f": (1300, 2500, 3600, 0.0, 0.15, 0.10),
    "t": (1900, 2900, 3700, 0.0, 0.5, 0.03),
    "p": (600, 1300, 2400, 0.0, 0.4, 0.03),
    "d": (300, 1800, 2700, 0.3, 0.2, 0.04),
    "g": (300, 1500, 2000, 0.3, 0.2, 0.04),
    "-": (500, 1500, 2500, 0.0, 0.0, 0.05),  # the closure before a plosive
}
WORDS = {
    **{"yes": "yes", "no": "nou", "up": "a-p", "down": "daun"},
    **{"left": "lef-t", "right": "rai-t", "stop": "s-to-p", "go": "gou"},
}


def data() -> dict[str, object]:
    """Spectrograms float32 (N, 1, 32, 61) and words int64 (N,) of each part; the words."""
    return {part: spoken(part, count) for part, count in COUNTS.items()} | {"classes": list(WORDS)}


def spoken(part: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first words of "train", "validation" or "test"; the same ones every time, each by another speaker."""
    rng = np.random.default_rng(("train", "validation", "test").index(part))
    labels = np.arange(count) % len(WORDS)
    spellings = list(WORDS.values())
    sounds = np.stack([in_noise(word(spellings[label], rng), rng) for label in labels])
    return log_mel(sounds)[:, None], labels


def word(spelling: str, rng: np.random.Generator) -> np.ndarray:
    """One speaker says a word: float (SAMPLES,), at most 1."""
    targets = np.array([SOUNDS[sound] for sound in spelling])
    targets[:, :3] *= rng.uniform(0.85, 1.2) * rng.normal(1, 0.04, (len(targets), 3))
    durations = targets[:, 5] * rng.uniform(0.9, 1.6) * rng.uniform(0.75, 1.3, len(targets))
    start = rng.uniform(0.05, 0.95 - durations.sum())
    middles = start + np.cumsum(durations) - durations / 2
    # silence before and after; formants, buzz and hiss glide from the middle of one sound to that of the next
    knots = np.concatenate([[start - 0.01], middles, [start + durations.sum() + 0.02]])
    levels = np.pad(targets[:, 3:5], ((1, 1), (0, 0)))
    times = np.arange(SAMPLES) / RATE_HZ
    buzz, hiss = (np.interp(times, knots, level) for level in levels.T)
    pitch = rng.uniform(90, 240) * (
        1 + rng.uniform(-0.3, 0.1) * (times - start) + rng.uniform(0, 0.02) * np.sin(35 * times)
    )
    phase = np.cumsum(pitch) / RATE_HZ % 1
    voice = buzz * (phase - 0.5) + hiss * rng.normal(0, 0.3, SAMPLES)
    # each window's spectrum, times the vocal tract's response at that time, and back
    windows = _windows(voice) * np.hanning(WINDOW)
    at = (np.arange(FRAMES) * HOP + WINDOW / 2) / RATE_HZ
    formants = np.stack([np.interp(at, middles, targets[:, each]) for each in range(3)], 1)
    distances = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ) - formants[..., None]
    response = (np.array([1.0, 0.6, 0.35])[:, None] / (1 + (distances / 90) ** 2)).sum(1)
    shaped = np.fft.irfft(np.fft.rfft(windows) * response)
    sound = np.zeros(SAMPLES)
    for frame, samples in enumerate(shaped):
        sound[frame * HOP : frame * HOP + WINDOW] += samples
    return sound / np.abs(sound).max()


def in_noise(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sound from some distance, in noise that has a color of its own."""
    spectrum = np.fft.rfft(rng.normal(0, 1, SAMPLES))
    noise = np.fft.irfft(spectrum / (1 + np.arange(len(spectrum)) / 400) ** rng.uniform(0, 1))
    ratio_db = rng.uniform(-8, 12)
    noise *= np.sqrt(np.mean(sound**2) / np.mean(noise**2)) * 10 ** (-ratio_db / 20)
    return (sound + noise) * 10 ** rng.uniform(-1, 0)


def log_mel(sounds: np.ndarray) -> np.ndarray:
    """Log-mel spectrograms float32 (N, MELS, FRAMES) of sounds (N, SAMPLES), centered and scaled for a network."""
    power = np.abs(np.fft.rfft(_windows(sounds) * np.hanning(WINDOW))) ** 2
    return ((np.log(power @ _bands() + 1e-6).swapaxes(1, 2) + 2) / 4).astype(np.float32)


def _windows(sounds: np.ndarray) -> np.ndarray:
    """(..., SAMPLES) -> (..., FRAMES, WINDOW)."""
    return np.lib.stride_tricks.sliding_window_view(sounds, WINDOW, axis=-1)[..., ::HOP, :]


def _bands() -> np.ndarray:
    """Triangles that are equally wide on the mel scale, (bins, MELS)."""
    highest = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.minimum(rising, falling).clip(min=0)
