"""Baseline networks, and the registry of all segmentation networks."""

from asa.nn.baselines.registry import NETWORKS, Network, NetworkSpec, PlainNetwork, asa_config, build_network

__all__ = ["NETWORKS", "Network", "NetworkSpec", "PlainNetwork", "asa_config", "build_network"]
