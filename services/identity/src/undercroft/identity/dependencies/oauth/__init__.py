"""How the endpoints of the authorization server come by their use cases."""
