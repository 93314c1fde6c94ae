"""Is this reward model a good teacher for this policy? What `seamaug diagnose` finds out.

Here verbs meet (scoring, verify), so it stands beside the pipeline.
"""
