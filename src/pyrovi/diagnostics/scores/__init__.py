"""Scores of predictions and of uncertainty, for whoever asks."""
