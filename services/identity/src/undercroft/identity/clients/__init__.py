"""What the identity service asks of others: mail servers, the shared cache."""
