"""What is removed from a home, on request or at night, and how a home is backed up."""
