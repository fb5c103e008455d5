"""The study of a planted shortcut: drawn dolls, three trainings, what the maps show."""
