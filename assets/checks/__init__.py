"""What has to hold of each asset's value before anybody trusts it."""
