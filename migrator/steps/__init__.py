"""The steps of a cutover, one file each; :mod:`migrator.steps.order` says in which order they run."""
