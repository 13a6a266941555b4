"""Sweeps in virtual time: recorded trainings replayed through the real study and samplers."""
