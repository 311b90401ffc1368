"""What all rewrites stand on: one parse of a file, its scopes, and edits that touch nothing outside their spans."""
