"""The loss of each prefix of stages: deep supervision (Lee et al. 2015)."""

import torch
from torch import Tensor
from torch.nn import functional


def stage_losses(increments: Tensor, base_logit: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy of each prefix of stages, at the natural rate.

    Shape: increments [B, K], or [B, M, K] of M members, y [B] -> [K].

    >>> y = torch.tensor([0.0, 1.0, 0.0, 0.0])
    >>> stage_losses(torch.zeros(4, 1, 2), torch.tensor(0.0), y).round(decimals=3)
    tensor([0.6930, 0.6930])
    """
    logits = base_logit + increments.cumsum(dim=-1)
    truth = y.reshape(-1, *[1] * (logits.dim() - 1)).expand_as(logits)
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return losses.flatten(end_dim=-2).mean(dim=0)


def stage_weights(stages: int) -> Tensor:
    """Weight of each prefix's loss: the last counts fully, the one before 0.3, earlier ones 0.15.

    >>> stage_weights(4)
    tensor([0.1500, 0.1500, 0.3000, 1.0000])
    """
    weights = torch.full((stages,), 0.15)
    weights[-2:-1] = 0.3
    weights[-1] = 1.0
    return weights
