"""What quota decides, from values alone: rates, plans in force, answers, and when to leave the store alone."""
