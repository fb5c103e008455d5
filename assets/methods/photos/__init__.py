"""From a source to a catalogue of its photos, and their labels and splits."""
