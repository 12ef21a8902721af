"""What the identity service refuses."""
