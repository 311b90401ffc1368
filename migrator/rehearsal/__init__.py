"""A whole cutover, rollback and cutover on scratch copies."""
