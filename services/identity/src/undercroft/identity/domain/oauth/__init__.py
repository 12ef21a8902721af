"""Pure rules of OAuth and OpenID Connect."""
