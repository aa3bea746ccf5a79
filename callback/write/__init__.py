"""From the numbers of a step to an event file, in the run's folder or a writer's."""
