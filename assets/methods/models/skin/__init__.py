"""The moderation of 1996: a filter for skin, and limbs that make a body."""
