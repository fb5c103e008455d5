"""What every room uses: errors, files that appear whole, digests, progress, devices, threads."""
