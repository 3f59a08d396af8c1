"""Growing a trained network by further groups without disturbing it: new stages are put behind those it has.

A new stage's head starts at zero, so that before it has learned anything every score is what it was.
"""

import torch

from features.encode import Encoder
from pipeline.model.network import LayeredNetwork, NetworkConfig


def graft(network: LayeredNetwork, encoder: Encoder, *, shape: NetworkConfig, seed: int, freeze: bool) -> LayeredNetwork:
    """Return a network with the weights of the given one and untrained stages for the groups that `encoder` has behind its own.

    With `freeze` the stages it had learn no more, and their increments stay as they are. Raises ValueError where the first
    groups of `encoder` are not those that the network was trained on, or where none comes behind them.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        grown = LayeredNetwork(encoder, base_logit=float(network.base_logit), config=shape)
    learned, fresh = network.state_dict(), grown.state_dict()
    if any(name not in fresh or fresh[name].shape != weights.shape for name, weights in learned.items()):
        raise ValueError(
            "the first groups are not those the network was trained on; name its groups in their order, then new ones"
        )
    if len(grown.heads) == len(network.heads):
        raise ValueError(f"all {len(network.heads)} groups are in the network already; name a new one behind them")
    grown.load_state_dict(fresh | learned)
    for name, weights in grown.named_parameters():
        weights.requires_grad = not freeze or name not in learned
    return grown.eval()
