"""Draw trainings, gates and where networks look."""
