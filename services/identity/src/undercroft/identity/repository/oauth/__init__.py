"""The authorization server's SQL."""
