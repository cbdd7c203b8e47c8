"""Random models of `transformers`, saved as people publish them."""

import numpy as np
import torch
import transformers

torch.set_num_threads(1)

WAVEFORM = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (24,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 20,
}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "max_source_positions": 100,
    "classifier_proj_size": 20,
}
# name: (family, settings beside those above)
MODELS = {
    "wav2vec2 group post": ("Wav2Vec2", {}),
    "wav2vec2 layer pre": ("Wav2Vec2", STABLE),
    "wav2vec2 layer post": ("Wav2Vec2", {"feat_extract_norm": "layer", "conv_bias": True}),
    "wav2vec2 group pre": ("Wav2Vec2", {"do_stable_layer_norm": True}),
    "hubert group post": ("Hubert", {}),
    "hubert layer pre": ("Hubert", STABLE),
    "hubert no feature norm": ("Hubert", {"feat_proj_layer_norm": False}),
    "wavlm group post": ("WavLM", {"num_buckets": 20, "max_bucket_distance": 40}),
    "wavlm layer pre": ("WavLM", {**STABLE, "num_buckets": 32, "max_bucket_distance": 80}),
    "data2vec-audio": (
        "Data2VecAudio",
        {"conv_pos_kernel_size": 7, "num_conv_pos_embeddings": 2, "conv_bias": False},
    ),
    "whisper": ("Whisper", {}),
    "whisper 128 mels": ("Whisper", {"num_mel_bins": 128}),
}


def make(name, *, kind="Model", seed=0, **changes):
    """Makes a model in eval mode whose every weight is random, also those that start at 0 or 1."""
    family, settings = MODELS[name]
    base = WHISPER if family == "Whisper" else WAVEFORM
    config = getattr(transformers, f"{family}Config")(**{**base, **settings, **changes})
    torch.manual_seed(seed)
    model = getattr(transformers, family + kind)(config).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.dim() < 2 or "gru_rel_pos_const" in key:
                value.add_(0.2 * torch.randn_like(value))
            elif "layer_weights" not in key and "original0" not in key:
                # About as long as trained weights: outputs that differ from frame to frame.
                value.copy_(torch.randn_like(value) * value[0].numel() ** -0.5)
    return model


def extractor(model, *, do_normalize=True):
    """Makes the feature extractor that belongs to a model."""
    config = model.config
    if config.model_type == "whisper":
        return transformers.WhisperFeatureExtractor(
            feature_size=config.num_mel_bins, chunk_length=config.max_source_positions // 50
        )
    return transformers.Wav2Vec2FeatureExtractor(
        do_normalize=do_normalize,
        return_attention_mask=getattr(config, "feat_extract_norm", "layer") == "layer",
    )


def save(model, folder, *, do_normalize=True):
    """Saves a model with its feature extractor."""
    model.save_pretrained(folder)
    extractor(model, do_normalize=do_normalize).save_pretrained(folder)
    return folder


def waveforms(*seconds, seed=0):
    """Noise with a slow contour and an offset, as float32."""
    rng = np.random.default_rng(seed)
    made = []
    for s in seconds:
        n = round(s * 16_000)
        contour = 0.1 * (1.2 + np.sin(np.arange(n) / 900))
        made.append((rng.normal(size=n) * contour + 0.02).astype(np.float32))
    return made


@torch.no_grad()
def hidden_states(model, preprocess, waveform):
    """Runs a model on one waveform, alone and unpadded: [L + 1, T, D] and the last state [T, D]."""
    inputs = preprocess(waveform, sampling_rate=16_000, return_tensors="pt")
    inputs.pop("attention_mask", None)
    encoder = model.get_encoder() if model.config.model_type == "whisper" else model
    output = encoder(**inputs, output_hidden_states=True)
    states = torch.stack(output.hidden_states)[:, 0].numpy()
    return states, output.last_hidden_state[0].numpy()
