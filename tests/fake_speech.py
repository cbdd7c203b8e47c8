"""A voice made of pulses and formants, which `sersl.audio.voice_activity` takes for speech."""

import numpy as np

RATE = 16_000


def make_voice(seconds, seed=0, rate=RATE):
    """Syllables of about 0.2 s with a moving pitch and two moving formants, [N] float32."""
    random = np.random.default_rng(seed)
    num_samples = round(seconds * rate)
    time = np.arange(num_samples) / rate
    pitch = 140 + 40 * np.sin(2 * np.pi * 0.9 * time + seed) + 15 * np.sin(2 * np.pi * 2.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    first = 500 + 250 * np.sin(2 * np.pi * 2.1 * time + seed)
    second = 1600 + 600 * np.sin(2 * np.pi * 1.7 * time + 2 * seed)
    voice = np.zeros(num_samples)
    for harmonic in range(1, 30):
        hertz = harmonic * pitch
        gain = np.exp(-(((hertz - first) / 200) ** 2))
        gain += 0.5 * np.exp(-(((hertz - second) / 300) ** 2))
        voice += (gain + 0.02) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time + seed) + 0.3, 0, 1)
    return (0.1 * syllables * voice + 0.0005 * random.normal(size=num_samples)).astype(np.float32)
