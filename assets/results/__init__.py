"""What is kept and shown of each asset."""
