"""One file for each family of instrumentations; being here registers it."""
