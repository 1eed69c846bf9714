"""Questions about traces, sessions and scores, answered from the store as JSON in the names of Langfuse's public API.

The command line, the viewer's API and its page all show what these functions return.
"""
