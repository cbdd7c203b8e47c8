"""Prediction with a released model."""
