"""How routes come by their services and callers."""
