"""Accuracy and speed, measured: tables against peers, in one run."""
