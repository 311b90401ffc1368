"""What a project has: tasks, schedules, deployment files; and the draft of a plan."""
