"""A tiny model with random weights, written as a released folder."""

import dataclasses
import json

import jax
import numpy as np
from flax import nnx

from sersl.config import schema
from sersl.config.fusion import FusionConfig
from sersl.models.emotion_model import EmotionModel
from sersl.models.encoder import SpeechEncoder
from sersl.release.about import write_about
from sersl.release.folder import write_encoder, write_model

NAMES = ("angry", "happy", "sad", "neutral")
DIMENSIONS = ("arousal", "dominance", "valence")
CORPORA = [
    {
        "corpus": "synthetic",
        "version": "1.0.0",
        "fingerprint": "ab" * 32,
        "num_utterances": 240,
        "num_speakers": 12,
        "licence": "Apache-2.0",
    }
]


def make_config(
    *,
    kind="attentive_statistics",
    layers="weighted",
    scan=False,
    side=0,
    onto=0,
    normalize="fixed",
    head="gelu",
    projection=0,
    standardize_outputs=False,
    heads=None,
):
    return schema.FinetuneConfig(
        name="fake",
        encoder=schema.EncoderConfig(
            num_layers=2,
            width=16,
            num_heads=2,
            mlp_width=32,
            scan_layers=scan,
            side_layers=side,
            side_from=min(side, 1),
            side_onto=onto,
        ),
        frontend=schema.FrontendConfig(num_mels=40, normalize=normalize),
        pooling=schema.PoolingConfig(
            kind=kind,
            layers=layers,
            hidden=8,
            projection=projection,
            standardize_outputs=standardize_outputs,
        ),
        heads=schema.HeadsConfig(kind=head, hidden=16, **(heads or {})),
    )


def make_params(config, *, num_categories=4, num_dimensions=3, seed=0, views=()):
    model = EmotionModel(
        config.frontend,
        config.encoder,
        config.pooling,
        config.heads,
        num_categories=num_categories,
        num_dimensions=num_dimensions,
        key=jax.random.key(seed),
        fusion=config.fusion,
        views=views,
    )
    params = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.split(model)[1]))
    # Fresh heads answer almost evenly; larger outputs make a difference worth comparing.
    for head in ("category", "dimensions"):
        if head in params:
            params[head]["output"] = jax.tree.map(lambda x: 40 * x, params[head]["output"])
    if config.pooling.standardize_outputs:
        values = np.random.default_rng(seed).uniform(0.5, 2.0, params["pooling"]["scale"].shape)
        params["pooling"]["center"] = params["pooling"]["scale"] = values.astype(np.float32)
    return params


def write_fake(folder, *, results=None, licence="MIT", seed=0, views=(), **options):
    config = make_config(**options)
    if views:
        config = dataclasses.replace(config, fusion=FusionConfig(kind="early"))
    return write_model(
        folder,
        params=make_params(config, seed=seed, views=views),
        config=config,
        categories=NAMES,
        dimensions=DIMENSIONS,
        results=results,
        corpora=CORPORA,
        licence=licence,
        views=views,
    )


def seal(folder, about=None):
    """Gives a folder whose files a test has changed the checksums of its files."""
    path = folder / "sersl.json"
    write_about(folder, json.loads(path.read_text()) if about is None else about)


def without_sums(folder):
    """Makes a folder as the first version of sersl.json was, without checksums."""
    path = folder / "sersl.json"
    about = json.loads(path.read_text())
    del about["sha256"]
    path.write_text(json.dumps({**about, "schema": 1}))
    return folder


def write_fake_encoder(folder):
    config = schema.PretrainConfig(
        encoder=make_config().encoder, frontend=make_config().frontend, name="fake-encoder"
    )
    encoder = SpeechEncoder(config.frontend, config.encoder, key=jax.random.key(0))
    params = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.split(encoder)[1]))
    other = {"quantizer": {"kernel": np.zeros((2, 2), np.float32)}}
    return write_encoder(
        folder, params={"encoder": params, **other}, config=config, corpora=CORPORA
    )
