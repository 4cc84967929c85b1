"""How large CoSD's tree grows if nobody says."""

DEPTH = 3
LEAF = 2  # positions: ten texts may have four where the assistant is right
