"""Two batteries of trainings whose cause is known by construction: one to tune on, one to be judged by."""
