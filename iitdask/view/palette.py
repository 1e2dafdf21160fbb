"""Colours of all figures and pages."""

# Okabe and Ito's palette; cause and effect differ in position or shape as well.
CAUSE, EFFECT, RELATION = "#D55E00", "#0072B2", "#AA3377"
MECHANISM, INK, MUTED, FAINT = "#000000", "#222222", "#6B6B6B", "#D9D9D9"
NO_DATA, SELECTED, HIGHLIGHT = "#BDBDBD", "#F0E442", "#E6007E"
SIDES = {"cause": CAUSE, "effect": EFFECT}
PHI = "Cividis256"
GROUPS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
