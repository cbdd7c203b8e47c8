"""The encoder of one unpadded utterance in plain float64 NumPy, by loops."""

import math

import numpy as np

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))


def standard(x, axis=-1):
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)


def norm(x, p, axis=-1):
    return standard(x, axis) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p.get("bias", 0.0)


def convolve(x, kernel, stride=1):
    """[T, I] with [K, I, O], without padding."""
    frames = (len(x) - len(kernel)) // stride + 1
    out = np.zeros((frames, kernel.shape[2]))
    for t in range(frames):
        for k, tap in enumerate(kernel):
            out[t] += x[t * stride + k] @ tap
    return out


def convolve_groups(x, kernel, groups):
    """As many frames out as in: K // 2 zeros in front; an even kernel has one fewer behind."""
    front, back = len(kernel) // 2, (len(kernel) - 1) // 2
    padded = np.pad(x, ((front, back), (0, 0)))
    size = x.shape[1] // groups
    parts = [slice(g * size, (g + 1) * size) for g in range(groups)]
    return np.concatenate([convolve(padded[:, p], kernel[:, :, p]) for p in parts], axis=1)


def conv_stack(p, waveform, config):
    x = np.asarray(waveform, np.float64)
    if config.normalize == "utterance":
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
    x = x[:, None]
    for i, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True)):
        layer = p["convolutions"][i]
        assert len(layer["kernel"]) == kernel
        x = convolve(x, layer["kernel"], stride) + layer.get("bias", 0.0)
        if "norm" in layer:
            x = norm(x, layer["norm"], axis=0 if config.conv_norm == "group" else -1)
        x = gelu(x)
    return norm(x, p["feature_norm"]) if "feature_norm" in p else x


def add_positions(p, x, config):
    if config.positions == "convolution":
        return x + gelu(convolve_groups(x, p["kernel"], config.position_groups) + p["bias"])
    if config.positions == "convolution_stack":
        y = x
        for i in range(config.position_layers):
            layer = p["convolutions"][i]
            y = convolve_groups(y, layer["kernel"], config.position_groups) + layer["bias"]
            y = gelu(standard(y))
        return x + y
    if config.positions == "learned":
        return x + p["table"][: len(x)]
    if config.positions == "sinusoidal":
        half = x.shape[1] // 2
        angles = np.outer(np.arange(len(x)), 10_000.0 ** (-np.arange(half) / (half - 1)))
        return x + np.concatenate([np.sin(angles), np.cos(angles)], 1)
    return x


def bucket(distance, config):
    """The bucket of one distance, as T5 and WavLM have it."""
    half = config.relative_buckets // 2
    size, first = abs(distance), half * (distance > 0)
    if size < half // 2:
        return first + size
    share = math.log(size / (half // 2)) / math.log(config.relative_distance / (half // 2))
    return first + min(half // 2 + int(share * (half - half // 2)), half - 1)


def turn(x):
    """Rotary positions of one head as complex products."""
    half = x.shape[1] // 2
    turned = np.zeros_like(x)
    for t in range(len(x)):
        for i in range(half):
            pair = (x[t, i] + 1j * x[t, i + half]) * np.exp(1j * t * 10000 ** (-i / half))
            turned[t, i], turned[t, i + half] = pair.real, pair.imag
    return turned


def attention(p, x, config, table):
    size, heads = config.width // config.num_heads, []
    q, k, v = (linear(x, p[name]) for name in ("query", "key", "value"))
    for h in range(config.num_heads):
        part = slice(h * size, (h + 1) * size)
        first, second = q[:, part], k[:, part]
        if config.positions == "rotary":
            first, second = turn(first), turn(second)
        scores = first @ second.T / np.sqrt(size)
        if table is not None:
            for t in range(len(x)):
                units = linear(x[t, part], p["gate"])
                update, reset = (
                    1 / (1 + np.exp(-units[half].sum())) for half in np.r_[0:8].reshape(2, 4)
                )
                gate = update * (reset * p["gate_scale"][h] - 1) + 2
                for s in range(len(x)):
                    scores[t, s] += gate * table[bucket(s - t, config), h]
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
    return linear(np.concatenate(heads, -1), p["output"])


def context(p, x, config):
    """Projected and positioned frames [T, D] to hidden states [L + 1, T, D]."""
    table = p["relative_bias"]["table"] if config.relative_bias else None
    states = [x]
    for i in range(config.num_layers):
        layer = p["layers"][i]

        def mlp(x, layer=layer):
            return linear(gelu(linear(x, layer["mlp_in"])), layer["mlp_out"])

        if config.norm == "post":
            y = x + attention(layer["attention"], x, config, table)
            y = norm(y, layer["attention_norm"])
            x = norm(y + mlp(y), layer["mlp_norm"])
        else:
            y = norm(x, layer["attention_norm"])
            x = x + attention(layer["attention"], y, config, table)
            x = x + mlp(norm(x, layer["mlp_norm"]))
        states.append(x)
    if config.norm == "pre":
        states[-1] = norm(states[-1], p["norm"])
    return np.stack(states)


def encoder(params, features, frontend, config):
    """Features [T, F] of the frontend to hidden states [L + 1, T, D]."""
    p = params["frontend"]
    if frontend.kind == "whisper":
        x = features.reshape(-1, frontend.num_mels)
        if not frontend.window_seconds:  # silence follows
            x = np.concatenate([x, np.full((4, frontend.num_mels), x.max() - 2)])
        for name, stride in (("conv1", 1), ("conv2", 2)):
            padded = np.pad(x, ((1, 1), (0, 0)))
            x = gelu(convolve(padded, p[name]["kernel"], stride) + p[name]["bias"])
        x = x[: len(features)]
    else:
        x = linear(features, p["projection"])
        x = norm(x, p["norm"]) if frontend.kind == "log_mel" else x
    x = add_positions(params.get("positions"), x, config)
    if config.norm == "post":
        x = norm(x, params["norm"])
    return context(params["context"], x, config)


def whisper_log_mel(waveform, filters):
    """Whisper's features of [N] samples by a DFT written out: [N / 160, filters]."""
    padded = np.pad(np.asarray(waveform, np.float64), 200, mode="reflect")
    hann = np.hanning(401)[:-1]
    angles = 2 * np.pi * np.outer(np.arange(201), np.arange(400)) / 400
    power = []
    for m in range(len(waveform) // 160):
        window = padded[160 * m : 160 * m + 400] * hann
        power.append((np.cos(angles) @ window) ** 2 + (np.sin(angles) @ window) ** 2)
    log_power = np.log10(np.maximum(np.array(power) @ filters, 1e-10))
    return (np.maximum(log_power, log_power.max() - 8) + 4) / 4


def slaney_filters(num_mels):
    """Filter by filter and bin by bin: [201, num_mels], area 1 over Hz."""

    def to_mel(hz):
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)

    def to_hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    edges = [to_hz(to_mel(8000) * i / (num_mels + 1)) for i in range(num_mels + 2)]
    filters = np.zeros((201, num_mels))
    for m in range(num_mels):
        low, centre, high = edges[m : m + 3]
        for k in range(201):
            hz = 40 * k
            height = min((hz - low) / (centre - low), (high - hz) / (high - centre))
            filters[k, m] = max(0, height) * 2 / (high - low)
    return filters
