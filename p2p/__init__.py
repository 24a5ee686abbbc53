"""Proto2Proto: prototypical part networks and how a teacher passes its explanations to a student."""

# Modules that decide what a training run ends with: a change in one of them makes it another run.
TRAINING_MODULES = (
    *("training", "batches", "phases", "losses", "networks"),
    *("projection", "prototypes", "decision", "augment", "streaming"),
)
