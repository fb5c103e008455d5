"""From a source to a catalogue of its photos; their labels and splits."""
