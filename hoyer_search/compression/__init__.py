"""Thresholds, masks, channel graphs, shrinking and artefacts of pruned networks.

thresholds -> masks (over a channel graph) -> measure, shrink -> artifact
"""
