"""Capabilities that two or more deployables use; no domain nouns."""
