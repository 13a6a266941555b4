"""The search: an Optuna study of operating points, run by Ray Tune. ray and optuna live here only.

``parameters``, ``samplers``, ``objectives``, ``journal`` and ``study`` hold the search itself and
know nothing of Ray; ``searcher``, ``trainable``, ``pretraining``, ``cluster`` and ``tuner`` run it
on a Ray cluster.
"""
