"""What commands are given: images, photos, selections of a map, labelled collections."""
