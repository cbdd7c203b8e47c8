"""Acoustic descriptors on the device, and the frontend that gives them to an encoder."""
