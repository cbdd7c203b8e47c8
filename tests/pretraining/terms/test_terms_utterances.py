"""Workers, contrast between utterances, texts and teachers, each as a term of pretraining."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sersl.config.load import from_mapping
from sersl.config.schema import EncoderConfig, FrontendConfig, PretrainConfig
from sersl.core.errors import UserError
from sersl.core.lengths import num_frames
from sersl.models.acoustic.functionals import FUNCTIONALS
from sersl.models.encoder import SpeechEncoder
from sersl.objectives.whole_batch import collecting
from sersl.parallel.random import run_key
from sersl.parallel.sharding import batch_sharding
from sersl.pretraining.task import PretrainTask
from sersl.pretraining.terms.language import LEVELS, PROPERTIES, acoustic_levels
from sersl.runs.initial_weights import InitialWeights
from sersl.training.step import make_teacher
from sersl.training.task import StepContext
from tests.pretraining.terms.test_frame_terms import merged, norm
from tests.tolerances import LOSS_ACROSS_MESHES

B, N = 8, 16_080
SMALL = {
    "encoder": {"num_layers": 2, "width": 16, "num_heads": 2, "mlp_width": 16, "dropout": 0.0},
    "frontend": {"num_mels": 20},
    "masking": {"rule": "none", "span": 4},
}
NOISY = {"distortion": {"noise_probability": 1.0}}
SPACE = {"hidden": 12, "width": 8}
TEACHER = {"frozen_teachers": ("teacher",)}
# Name of the term to settings under objectives.<term>, and settings of the whole run.
CASES = {
    "workers": ({"hidden": 8, "chunk": 20, "context": 1, "balance": "uncertainty"}, {}),
    "information": ({"hidden": 8, "chunk": 10}, {}),
    "multiview": (SPACE, {}),
    "supervised": ({**SPACE, "pairs": "both", "tolerance": 0.5}, {}),
    "instances": (SPACE, NOISY),
    "language": (SPACE, {}),
    "layers": ({"layers": (1, 3)}, TEACHER),
    "vesper": (
        {"middle": 2, "last": 3, "span": 10},
        {**TEACHER, "masking": {"rule": "uniform", "span": 3}},
    ),
    "denoise": ({"width": 8}, NOISY),
}
# Other settings of a term that have a path of their own.
OTHERS = {
    "byol": ("instances", {"loss": "bootstrap"}, {}),
    "acoustics": ("language", {"describe": "acoustics"}, {}),
    "both": ("language", {"describe": "both"}, {}),
    "hidden": (
        "workers",
        {"frames": "hidden", "names": ("mel",)},
        {"masking": {"rule": "uniform"}},
    ),
    "prosody": ("workers", {"names": ("prosody", "mfcc")}, {}),
    "removed": (
        "supervised",
        {"pairs": "category"},
        {"masking": {"rule": "uniform", "replace": "remove", "clones": 2}},
    ),
    "frozen": ("denoise", {"teacher": "frozen"}, TEACHER),
    "masked": ("instances", {}, {"masking": {"rule": "uniform"}}),
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    acoustic = [f"{name}={level}" for name in PROPERTIES for level in LEVELS]
    names = np.array(["angry", "sad", "neutral", *acoustic])
    path = tmp_path_factory.mktemp("texts") / "texts.npz"
    embeddings = np.random.default_rng(0).normal(size=(len(names), 6))
    np.savez(path, names=names, embeddings=embeddings)
    small = path.with_name("small.npz")
    np.savez(small, names=names[:3], embeddings=embeddings[:3])
    return {"both": str(path), "acoustics": path, "category": str(small)}


@pytest.fixture(scope="module")
def acoustic_only(texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("acoustic") / "texts.npz"
    with np.load(texts["both"]) as file:
        np.savez(path, names=file["names"][3:], embeddings=file["embeddings"][3:])
    return str(path)


def config_of(case, texts, acoustic_only, *more):
    name, own, whole = OTHERS.get(case, (case, {}, {}))
    first, first_whole = CASES[name]
    if name == "language":
        describe = own.get("describe", "category")
        file = acoustic_only if describe == "acoustics" else texts[describe]
        first = {**first, "file": file}
    values = {"objectives": {name: {"weight": 1.0, **first, **own}}}
    return name, from_mapping(PretrainConfig, merged(SMALL, values, first_whole, whole, *more))


def teacher_of():
    frontend = FrontendConfig(num_mels=10)
    encoder = EncoderConfig(num_layers=3, width=12, num_heads=2, mlp_width=8)
    model = SpeechEncoder(frontend, encoder, key=run_key(9, "teacher"))
    params = nnx.to_pure_dict(nnx.split(model)[1])
    return InitialWeights({"encoder": params}, frontend, encoder, "teacher")


def batch_of(waveform=None, num_rows=B):
    rng = np.random.default_rng(0)
    if waveform is None:
        time = np.arange(N) / 16_000
        pitch = 100 + 20 * np.arange(num_rows)[:, None]
        waveform = 0.1 * np.sin(2 * np.pi * pitch * time) + 0.02 * rng.normal(size=(num_rows, N))
    lengths = np.array([N, N, 9000, N, 12000, N, N, 15000])[:num_rows, None]
    noise = 0.05 * rng.normal(size=(2, num_rows, N))
    batch = {
        "waveform": waveform,
        "distorted": waveform + noise[0],
        "second": waveform + noise[1],
        "intensity": rng.random((num_rows, num_frames(N))),
        "prosody": rng.normal(size=(num_rows, num_frames(N), 6)),
    }
    return {name: jnp.asarray(array, jnp.float32) for name, array in batch.items()} | {
        "valid": jnp.asarray(np.arange(N) < lengths),
        "category": jnp.array([0, 0, 2, 3, -1, 2, 0, 6][:num_rows]),
        "utterance_index": jnp.array([0, 1, 2, 3, 4, 5, 6, 3][:num_rows]),
    }


@functools.cache
def compiled(config):
    """The task, its first parameters, and value, metrics and gradient of its loss."""
    frozen = [teacher_of()] if config.frozen_teachers else []
    task = PretrainTask(config, frozen=frozen)
    params = nnx.to_pure_dict(nnx.split(task.make_model())[1])
    constants = {"frozen": {i: each.params["encoder"] for i, each in enumerate(frozen)}}

    def run(params, teacher, batch, constants):
        def loss(p):
            return task.loss(p, batch, StepContext(teacher, constants, 0, run_key(1, "s")))

        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        return value, {name: mean.value() for name, mean in metrics.items()}, gradient

    return task, params, functools.partial(jax.jit(run), constants=constants)


@pytest.mark.parametrize("case", [*CASES, *OTHERS])
def test_term_when_its_gradient_is_followed_then_the_loss_falls(case, texts, acoustic_only):
    name, config = config_of(case, texts, acoustic_only)
    task, params, run = compiled(config)
    batch, teacher = batch_of(), make_teacher(task, params)
    first, metrics, gradient = run(params, teacher, batch)
    assert np.isfinite(first) and first > 0
    np.testing.assert_allclose(metrics[name], first, rtol=1e-5)
    assert all(np.isfinite(list(metrics.values()))), metrics
    assert norm(gradient["encoder"]) > 0 and norm(gradient[name]) > 0
    for _ in range(5):
        scale = 0.05 / norm(gradient) ** 0.5
        params = jax.tree.map(lambda p, g, s=scale: p - s * g, params, gradient)
        last, _, gradient = run(params, teacher, batch)
    assert last < first


@pytest.mark.parametrize("case", CASES)
def test_term_when_all_is_silent_then_finite(case, texts, acoustic_only):
    task, params, run = compiled(config_of(case, texts, acoustic_only)[1])
    teacher = make_teacher(task, params)
    silent = batch_of(np.zeros((B, N)))
    silent |= dict.fromkeys(("distorted", "second"), silent["waveform"])
    for batch in (silent, batch_of() | {"valid": jnp.zeros((B, N), bool)}):
        value, metrics, gradient = run(params, teacher, batch)
        assert np.isfinite(value) and np.isfinite(norm(gradient)), metrics


NEED_ROWS = ("information", "multiview", "supervised", "instances", "language", "denoise")


@pytest.mark.parametrize("case", NEED_ROWS)
def test_term_when_batch_has_one_row_then_contrast_is_refused(case, texts, acoustic_only):
    task, params, run = compiled(config_of(case, texts, acoustic_only)[1])
    with pytest.raises(UserError, match="one row"):
        run(params, make_teacher(task, params), batch_of(num_rows=1))


@pytest.mark.parametrize("case", ["information", "instances"])
def test_term_when_rows_are_spread_over_eight_devices_then_the_loss_is_that_of_one(
    case, texts, acoustic_only
):
    task, params, run = compiled(config_of(case, texts, acoustic_only)[1])
    batch, teacher = batch_of(), make_teacher(task, params)
    alone, _, gradient = run(params, teacher, batch)
    axes = (jax.sharding.AxisType.Auto,) * 3
    mesh = jax.make_mesh((4, 2, 1), ("data", "fsdp", "tensor"), axis_types=axes)
    with jax.set_mesh(mesh):
        spread = jax.device_put(batch, batch_sharding(mesh))
        whole = jax.device_put((params, teacher), NamedSharding(mesh, P()))
        found, _, found_gradient = run(*whole, spread)
    np.testing.assert_allclose(found, alone, **LOSS_ACROSS_MESHES)
    for a, b in zip(*map(jax.tree.leaves, (gradient, found_gradient)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_workers_when_the_student_hears_noise_then_targets_are_of_the_clean_signal(
    texts, acoustic_only
):
    """At its best a worker predicts the clean waveform: distortion moves no target."""
    settings = {"objectives": {"workers": {"names": ("mel",), "balance": "fixed"}}}
    _, clean = config_of("workers", texts, acoustic_only, settings)
    _, noisy = config_of("workers", texts, acoustic_only, settings, NOISY)
    batch = batch_of()
    results = []
    for config, heard in ((clean, "waveform"), (noisy, "waveform"), (noisy, "distorted")):
        task, params, run = compiled(config)
        given = batch | {"distorted": batch[heard]}
        results.append(run(params, make_teacher(task, params), given)[0])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
    assert abs(results[2] - results[0]) > 1e-5


def test_acoustic_levels_when_ranked_then_thirds_of_the_batch():
    values = np.zeros((9, len(FUNCTIONALS)), np.float32)
    values[:, FUNCTIONALS.index("f0_voiced_p50")] = [5, 1, 9, 3, 7, 2, 8, 4, 6]
    levels = np.asarray(acoustic_levels(jnp.asarray(values)))
    np.testing.assert_array_equal(levels[:, 0], [1, 0, 2, 0, 2, 0, 2, 1, 1])
    np.testing.assert_array_equal(levels[:, 1:], 0)  # what does not vary is all of one level


OBJECTIVE = "objectives"


@pytest.mark.parametrize(
    ("case", "more", "words"),
    [
        ("workers", {OBJECTIVE: {"workers": {"names": ("mell",)}}}, "did you mean 'mel'"),
        ("workers", {OBJECTIVE: {"workers": {"names": ()}}}, "one or more workers"),
        ("workers", {OBJECTIVE: {"workers": {"shares": (1.0,)}}}, "for each of the 6 workers"),
        ("workers", {OBJECTIVE: {"workers": {"balance": "fixd"}}}, "did you mean 'fixed'"),
        (
            "workers",
            {OBJECTIVE: {"workers": {"names": ("mel", "mfcc"), "shares": (1.0, 0.0)}}},
            "a worker of weight 0",
        ),
        ("workers", {OBJECTIVE: {"workers": {"frames": "hidden"}}}, "masking.rule is 'none'"),
        (
            "information",
            {OBJECTIVE: {"information": {"local_share": 0.0, "global_share": 0.0}}},
            "give one of them a share",
        ),
        ("multiview", {OBJECTIVE: {"multiview": {"views": ("speech",)}}}, "one or more of mel"),
        ("multiview", {OBJECTIVE: {"multiview": {"views": ("speech", "mels")}}}, "'mel'"),
        ("supervised", {OBJECTIVE: {"supervised": {"pairs": "label"}}}, "category, intensity"),
        ("instances", {"distortion": {"noise_probability": 0.0}}, "every probability under"),
        ("instances", {OBJECTIVE: {"instances": {"loss": "bootstap"}}}, "'bootstrap'"),
        ("instances", {"distortion": {"speed_probability": 0.5}}, "moves sounds in time"),
        ("language", {OBJECTIVE: {"language": {"file": ""}}}, "is not given"),
        ("language", {OBJECTIVE: {"language": {"file": "/no/such.npz"}}}, "is not a file"),
        ("language", {OBJECTIVE: {"language": {"file": __file__}}}, "must be an .npz"),
        ("language", {OBJECTIVE: {"language": {"describe": "acoustics"}}}, "unknown name in"),
        ("language", {OBJECTIVE: {"language": {"describe": "both"}}}, "has no embedding of"),
        ("layers", {OBJECTIVE: {"layers": {"layers": (4,)}}}, "has layers 1 to 3"),
        ("layers", {OBJECTIVE: {"layers": {"layers": ()}}}, "one or more layers"),
        ("layers", {"frozen_teachers": ()}, "needs a frozen teacher"),
        ("vesper", {"masking": {"rule": "none"}}, "masking.rule is 'none'"),
        ("vesper", {"encoder": {"num_layers": 1}}, "2 or more"),
        ("denoise", {"distortion": {"noise_probability": 0.0}}, "compares distorted with clean"),
        ("denoise", {OBJECTIVE: {"denoise": {"teacher": "mean"}}}, "average, frozen"),
    ],
)
def test_settings_when_they_make_no_sense_then_one_sentence(
    case, more, words, texts, acoustic_only
):
    with pytest.raises(UserError, match=words) as caught:
        config = config_of(case, texts, acoustic_only, more)[1]
        PretrainTask(config, frozen=[teacher_of()] if config.frozen_teachers else [])
    assert "\n" not in str(caught.value)


def test_contrast_when_the_batch_comes_in_parts_then_one_sentence(texts, acoustic_only):
    for case in NEED_ROWS:
        task, params, _ = compiled(config_of(case, texts, acoustic_only)[1])
        with collecting(2), pytest.raises(UserError, match="accumulate_steps"):
            jax.eval_shape(
                lambda p, b, task=task: task.loss(
                    p, b, StepContext(make_teacher(task, p), {}, 0, run_key(1, "s"))
                )[0],
                params,
                batch_of(),
            )
