"""From vectors to points in the plane, and the networks that place further photos there."""
