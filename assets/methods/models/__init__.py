"""Networks and classifiers, and what they make of photos: vectors and scores."""
