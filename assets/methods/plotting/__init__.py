"""The sheet that figures are laid out on, the words on it, contact sheets."""
