"""The live feed: the city's newest state and its changes to many clients, each at its own pace."""
