"""What deployment files say about the processes of a project. Nothing is run."""
