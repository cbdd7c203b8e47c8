"""What every network over frames promises: padding, dropout, sizes, refusals."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from sersl.config.frame_network import NetworkConfig
from sersl.config.schema import MeshConfig
from sersl.core.errors import UserError
from sersl.models.networks.all_networks import NETWORKS, SPECTRAL, make_network
from sersl.parallel.mesh import make_mesh
from tests.models.small import compiled
from tests.tolerances import FP32, FP32_DEEP

T, D = 40, 24
LENGTHS = np.array([40, 23])
VALID = np.arange(T) < LENGTHS[:, None]
X = np.random.default_rng(0).normal(size=(2, T, D)).astype(np.float32)
KEY = jax.random.key(0)
# float32 parameters without the output layer: of the public code of Light-SERNet, whose models.py
# has 460,740 trainable ones with 4 categories, and of TIM-Net, whose README gives 0.40 MiB, with 7;
# of MS-SENet as its public code builds it.
PUBLISHED = {
    "light_sernet": (40, 460_740 - 4 * 321),
    "tim_net": (39, 104_216),
    "ms_senet": (39, 122_626),
}


def config_of(name, **changes):
    windows = 2 if name in SPECTRAL else 1
    small = NetworkConfig(kind=name, windows_per_frame=windows, width=4, depth=2, num_heads=2)
    return dataclasses.replace(small, **changes)


def moved(params):
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: a + 0.05 * rng.normal(size=a.shape).astype(np.float32), params)


@pytest.mark.parametrize("kind", NETWORKS)
def test_network_when_padded_with_anything_then_equal_to_the_utterance_alone(kind):
    network = make_network(D, config_of(kind), key=KEY)
    params, run = compiled(network)
    params = moved(params)
    found = np.asarray(run(params, np.where(VALID[..., None], X, 9.0), VALID))
    assert found.shape == (2, T, network.num_outputs)
    assert np.isfinite(found).all()
    alone = np.asarray(run(params, X[1:, : LENGTHS[1]], VALID[1:, : LENGTHS[1]]))
    np.testing.assert_allclose(found[1, : LENGTHS[1]], alone[0], **FP32_DEEP)
    dropped = np.asarray(run(params, X, VALID, key=KEY))
    drops = np.abs(dropped - found)[VALID].max() > 1e-3
    assert drops == (kind != "light_sernet")  # whose dropout is in the head


@pytest.mark.parametrize("kind", PUBLISHED)
def test_network_when_of_the_published_size_then_it_has_the_published_number_of_parameters(kind):
    coefficients, expected = PUBLISHED[kind]
    config = NetworkConfig(kind=kind, windows_per_frame=2)
    network = nnx.eval_shape(lambda: make_network(2 * coefficients, config, key=KEY))
    sizes = [np.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.to_pure_dict(nnx.state(network)))]
    assert sum(sizes) == expected


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("light_sernet", {"kind": "light_senet"}, "did you mean 'light_sernet'"),
        ("dwformer", {"windows_per_frame": 2}, "reads whole frames"),
        ("dwformer", {"num_heads": 5}, r"set pooling\.network\.num_heads to a divisor of 24"),
    ],
)
def test_network_when_settings_do_not_fit_then_user_error(kind, changes, words):
    with pytest.raises(UserError, match=words):
        nnx.eval_shape(lambda: make_network(D, config_of(kind, **changes), key=KEY))


def test_network_when_windows_do_not_divide_the_features_then_user_error():
    with pytest.raises(UserError, match="does not divide the 57 channels"):
        make_network(57, config_of("tim_net"), key=KEY)


@pytest.mark.parametrize("kind", NETWORKS)
def test_network_when_a_row_has_no_real_frame_then_outputs_and_gradients_are_finite(kind):
    params, run = compiled(make_network(D, config_of(kind), key=KEY))
    valid = VALID & np.array([[True], [False]])

    def loss(params):
        return (run(params, X, valid) * valid[..., None]).sum()

    value, gradient = jax.value_and_grad(loss)(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_network_when_rows_are_on_eight_devices_then_equal_to_one(kind):
    params, run = compiled(make_network(D, config_of(kind), key=KEY))
    x = np.random.default_rng(2).normal(size=(8, 12, D)).astype(np.float32)
    valid = np.arange(12) < np.array([12, 11, 9, 7, 5, 3, 2, 1])[:, None]
    alone = np.asarray(run(params, x, valid))
    mesh = make_mesh(MeshConfig(data=8), jax.devices())
    rows = NamedSharding(mesh, PartitionSpec("data"))
    with jax.set_mesh(mesh):
        found = run(params, *jax.device_put((x, valid), rows))
    assert len(found.sharding.device_set) == 8
    np.testing.assert_allclose(np.asarray(found)[valid], alone[valid], **FP32)
