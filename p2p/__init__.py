"""Proto2Proto: prototypical part networks and how a teacher passes its explanations to a student."""
