"""Who is calling, and on whose behalf."""
