"""The sheet that figures are drawn on, its texts, histograms and contact sheets."""
