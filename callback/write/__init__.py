"""From a step's numbers to an event file, in the run's folder or a writer's."""
