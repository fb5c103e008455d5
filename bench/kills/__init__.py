"""Commands that are killed at random moments, or run out of disk: does a repeat mend everything?"""
