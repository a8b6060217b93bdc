"""Arrays in, numbers out: numpy and scipy only, no type of ours but `Estimate`."""
