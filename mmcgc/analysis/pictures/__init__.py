"""Pictures and figures of trainings, gates and attention."""
