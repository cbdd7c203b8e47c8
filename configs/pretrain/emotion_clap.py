"""GEmo-CLAP: match utterances with embeddings of texts that name or describe their emotion.

Paper: GEmo-CLAP (2306.07848): soft targets by shared labels, cosines with a learned scale; acoustic
prompts as in 2211.07737 (pitch, loudness, rate and variation in words).
Differs: texts are embedded in advance and stay fixed; gender is not used; categories may be
pseudo-labels.

Command: sersl pretrain --config configs/pretrain/emotion_clap.py:base --workdir runs/clap \
    --config.data.data_dir=data --config.data.corpora=iemocap \
    --config.init_from=models/wavlm --config.objectives.language.file=texts.npz
The file of texts has names and embeddings, which any text encoder can compute, for example:
    from sentence_transformers import SentenceTransformer
    names = ["angry", "happy", ..., "pitch=low", "pitch=middle", "pitch=high", ...]
    texts = ["an angry voice", "a happy voice", ..., "a low voice", ...]
    np.savez("texts.npz", names=names, embeddings=SentenceTransformer(MODEL).encode(texts))
Presets: nano and nano_acoustics (tests), base, base_acoustics (needs no labels) and base_both.
Time: nano seconds on a CPU; not measured for the others.
Score: none measured here.
"""

from ml_collections import ConfigDict

from sersl.config.presets import encoder_preset, frontend_preset

STEPS = {
    "nano": 20,
    "nano_acoustics": 20,
    "base": 20_000,
    "base_acoustics": 20_000,
    "base_both": 20_000,
}


def get_config(preset: str = "base") -> ConfigDict:
    size, _, describe = preset.partition("_")
    config = ConfigDict()
    config.name = f"emotion_clap_{preset}"
    config.frontend = frontend_preset(size, frontend="waveform")
    config.encoder = encoder_preset(size, frontend="waveform")
    config.masking = {"rule": "none"}
    config.objectives = {
        "language": {"weight": 1.0, "file": "texts.npz", "describe": describe or "category"},
    }
    config.optimizer = {"learning_rate": 1e-4}
    config.train = {"num_steps": STEPS[preset]}
    if size == "nano":
        config.data = {"seconds_per_batch": 9.6, "max_seconds": 1.2, "num_buckets": 1}
        config.encoder.position_groups = 4
        config.objectives.language.update({"hidden": 32, "width": 16})
        config.optimizer.learning_rate = 3e-3
    else:
        config.data = {"seconds_per_batch": 1_280.0, "max_seconds": 10.0, "num_buckets": 4}
        config.encoder.update({"relative_bias": True, "dtype": "bfloat16", "remat": "dots"})
    return config
