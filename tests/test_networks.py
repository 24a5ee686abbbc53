"""Networks: the two heads over a trunk."""

from __future__ import annotations

import pytest
import torch
from bounds import distance_rounding

from p2p.networks import LinearNet, ProtoNet

pytestmark = pytest.mark.numeric


def test_protonet_start():
    torch.manual_seed(0)
    network = ProtoNet(torch.nn.Identity(), 32, classes=3, per_class=4, depth=64)
    for k in range(3):
        for j in range(12):
            assert network.own[k, j] == (j // 4 == k)
            assert network.decision.weight[k, j] == (1.0 if j // 4 == k else -0.5)
    assert network.prototypes.shape == (12, 64)
    assert network.prototypes.min() >= 0 and network.prototypes.max() < 1
    assert network.prototypes.mean().item() == pytest.approx(0.5, abs=0.05)
    for layer in (network.addon[0], network.addon[2]):
        assert (layer.bias == 0).all()
        assert layer.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)  # Kaiming, fan_out = D


def test_protonet_output_follows_its_definition():
    torch.manual_seed(0)
    network = ProtoNet(torch.nn.Identity(), 6, classes=2, per_class=2, depth=5)
    out = network(torch.randn(3, 6, 2, 3))
    bound = distance_rounding(out.z, network.prototypes)
    assert out.z.shape == (3, 5, 2, 3) and out.z.min() > 0 and out.z.max() < 1
    for b in range(3):
        evidence, slope = [], 0.0
        for j in range(4):
            d = [
                (out.z[b, :, y, x].double() - network.prototypes[j].double()).square().sum().item()
                for y in range(2)
                for x in range(3)
            ]
            assert d[out.cells[b, j]] <= min(d) + 2 * bound
            slope = max(slope, 1 / min(d))  # of the evidence, by the distance
            evidence.append(torch.tensor((min(d) + 1) / (min(d) + 1e-4)).log().item())
        for k in range(2):
            logit = sum((1 if j // 2 == k else -0.5) * evidence[j] for j in range(4))
            assert out.logits[b, k].item() == pytest.approx(logit, abs=4 * bound * slope)


def test_linear_net_pools_and_classifies():
    network = LinearNet(torch.nn.Identity(), 6, 4)
    x = torch.randn(3, 6, 2, 2)
    expected = x.mean((2, 3)) @ network.decision.weight.T + network.decision.bias
    out = network(x)
    torch.testing.assert_close(out.logits, expected)
    assert out.distances.numel() == out.cells.numel() == out.z.numel() == 0
