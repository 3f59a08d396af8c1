"""What a transaction means, at the moment it happened."""
