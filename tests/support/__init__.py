"""What several tests share: servers, photos, models and drawings whose answers are known."""
