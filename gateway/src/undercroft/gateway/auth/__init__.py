"""Who is calling: API keys and access tokens, verified, remembered, and forgotten the moment they change."""
