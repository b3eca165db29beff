"""One more of everything: what another package may add to pyrovi without a line changed there."""
