"""What a classifier looks at in an image: occlusion and the deconvnet."""
