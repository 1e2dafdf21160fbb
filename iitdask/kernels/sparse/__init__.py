"""Search of causes and effects whose work grows with the connected pairs: tables per unit only."""
